"""What ``doctor`` finds on a sound machine, and on machines with one fault each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def states(document: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {finding["about"]: finding["state"] for finding in document["findings"]}


def test_a_sound_machine_has_no_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a compiler, which is worth a note: nothing is built here."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    ended = cli("doctor", "--json")
    assert ended.code == 0
    assert ended.json["ok"] is True
    found = states(ended.json)
    assert {"versions", "configuration", "store", "disk", "memory", "devices"} <= found.keys()
    assert found.pop("kernels") == "note"
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
    ended = cli("doctor")
    assert ended.code == 1
    assert f"FAULT store: others can write to {open_home}" in ended.out
    assert f"chmod go-w {open_home}" in ended.out

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GROKDIST_HOME", str(tmp_path / "file" / "home"))
    ended = cli("doctor", "--json")
    assert ended.code == 1
    assert states(ended.json)["store"] == "fault"
