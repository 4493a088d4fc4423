"""What ``doctor`` finds on a sound machine, and on machines with one fault each."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from grokdist.cli import doctor_network
from grokdist.cli.doctor import look_at_store
from grokdist.cli.doctor_configuration import look_at_configuration
from grokdist.cli.doctor_network import look_at_clock, look_at_ports, look_at_proxies
from grokdist.cli.finding import Finding
from grokdist.transfer.store import Store
from tests.cli.conftest import Cli


def states(document: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {finding["about"]: finding["state"] for finding in document["findings"]}


def fault_of(look: Callable[[], Iterator[Finding]], state: str = "fault") -> Finding:
    """The one fault that is found; a fix goes with it."""
    (found,) = [finding for finding in look() if finding.state == state]
    assert found.fix
    return found


def test_a_sound_machine_has_no_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler, which is worth a note: nothing is built here."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    ended = cli("doctor", "--json")
    assert ended.code == 0
    assert ended.json["ok"] is True
    found = states(ended.json)
    assert {"versions", "configuration", "store", "disk", "memory", "devices"} <= found.keys()
    assert {"stale", "loopback", "proxy", "clock", "hash trees"} <= found.keys()
    assert found.pop("kernels") == "note"
    for port in ("torrent port", "serve port"):  # another program of this machine may have it
        found.pop(port)
    assert set(found.values()) == {"ok"}
    text = cli("doctor")
    assert text.out.endswith("0 faults\n")
    assert "no C++ compiler" in text.out


def test_each_fault_is_named_with_what_mends_it(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    open_home = tmp_path / "open"
    open_home.mkdir()
    open_home.chmod(0o777)
    monkeypatch.setenv("GROKDIST_HOME", str(open_home))
    # Every other command refuses to start with a file that cannot be read.
    (tmp_path / "broken.toml").write_text("[run\n")
    monkeypatch.setenv("GROKDIST_CONFIG", str(tmp_path / "broken.toml"))
    refused = cli("list")
    assert refused.code == 2
    assert "hint: grokdist doctor" in refused.err
    ended = cli("doctor")
    assert ended.code == 1
    assert f"FAULT store: others can write to {open_home}" in ended.out
    assert f"chmod go-w {open_home}" in ended.out
    assert f"FAULT configuration: configuration file {tmp_path / 'broken.toml'}" in ended.out

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GROKDIST_HOME", str(tmp_path / "file" / "home"))
    ended = cli("doctor", "--json")
    assert ended.code == 1
    assert states(ended.json)["store"] == "fault"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[run]\nseeed = 1\n", "[run] has no flag 'seeed'"),
        ('[run]\ntop-p = "high"\n', "[run] top_p: "),
        ("[rnu]\nseed = 1\n", "[rnu] is no command"),
        ("[registry.add]\nnaem = 1\n", "[registry.add] has no flag 'naem'"),
        ("[registry]\nadd = 1\n", "[registry.add] is no table"),
    ],
)
def test_a_flag_that_nobody_takes_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setenv("GROKDIST_CONFIG", str(tmp_path / "c.toml"))
    (tmp_path / "c.toml").write_text("[run]\nseed = 1\nmax-tokens = 5\nstop = ['a', 'b']\n")
    assert [finding.state for finding in look_at_configuration()] == ["ok"]
    (tmp_path / "c.toml").write_text(text)
    assert words in fault_of(look_at_configuration).found


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://proxy:1", "no proxy's URL"),
        ("http://", "no proxy's URL"),
        ("http://[::1", "no proxy's URL"),
        ("http://name:secret@127.0.0.1:{port}", "127.0.0.1:{port} cannot be reached"),
        ("127.0.0.1:{port}", "127.0.0.1:{port} cannot be reached"),
    ],
)
def test_a_proxy_that_is_wrong_or_away(
    monkeypatch: pytest.MonkeyPatch, url: str, words: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
        assert {finding.state for finding in look_at_proxies()} == {"ok"}
    monkeypatch.setenv("https_proxy", url.format(port=port))
    found = fault_of(look_at_proxies)
    assert found.about == "https_proxy"
    assert words.format(port=port) in found.found
    assert "secret" not in found.found


def test_a_clock_that_shows_what_is_known_to_be_past(monkeypatch: pytest.MonkeyPatch) -> None:
    class Behind(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Behind:
            return cls(2001, 1, 1, tzinfo=tz)

    assert {finding.state for finding in look_at_clock()} <= {"ok", "note"}
    monkeypatch.setattr(doctor_network, "datetime", Behind)
    found = fault_of(look_at_clock)
    assert "2001-01-01" in found.found
    assert "timedatectl" in found.fix


def test_a_catalog_past_its_day_may_be_a_clock_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    from grokdist.catalog import registry

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Ahead:
            return cls(2101, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(registry, "datetime", Ahead)
    monkeypatch.setattr(doctor_network, "datetime", Ahead)
    assert "was good until 20" in fault_of(look_at_clock, "note").found


def test_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("", 0)) as server:
        monkeypatch.setattr(doctor_network, "_TORRENT_PORT", server.getsockname()[1])
        monkeypatch.setattr(doctor_network, "_SERVE_PORT", 0)
        assert "cannot be listened on" in fault_of(look_at_ports, "note").found

    def refuse(*_: object, **__: object) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    monkeypatch.setattr(doctor_network.socket, "create_server", refuse)
    assert "no process can listen on 127.0.0.1" in fault_of(look_at_ports).found


def test_a_stale_store() -> None:
    directory = Store().directory("tiny", "a" * 40)
    (parts := directory / ".grokdist/parts").mkdir(parents=True)
    (directory / "weights").write_bytes(b"whole")
    (parts / "weights.part").write_bytes(bytes(5000))
    (parts / "not-there.part").write_bytes(bytes(5000))
    notes = {finding.about: finding for finding in look_at_store()}
    assert notes["stale"].fix == "grokdist gc"
    assert "part" in notes["stale"].found
    assert "grokdist fetch tiny goes on" in notes["unfinished"].fix
    (directory / ".grokdist/receipt.json").write_text('{"half": "a receipt"}')
    assert str(directory) in fault_of(look_at_store).found
