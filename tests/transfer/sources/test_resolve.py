"""What ``--source`` takes, and which sources a request ends up with."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from grokdist.catalog.manifest import Source, SourceKind
from grokdist.errors import NoSourceError, UsageError
from grokdist.transfer.plan import FetchRequest
from grokdist.transfer.sources.resolve import build_sources, parse_sources
from tests.transfer.models import entry_of, manifest_of, trusted

MAGNET = "magnet:?xt=urn:btih:5f96d43576e3d386c9ba65b883210a393b68210e"
LISTED = (
    Source(kind=SourceKind.HUB, location="org/name", revision="ab" * 20, files=("ckpt-0/*",)),
    Source(kind=SourceKind.HTTPS, location="https://mirror.example/", files=("LICENSE",)),
    Source(kind=SourceKind.TORRENT, location=MAGNET, files=("ckpt-0/*",)),
    Source(kind=SourceKind.LOCAL, location="tiny"),
)
ENTRIES = [entry_of("ckpt-0/a", b"abc"), entry_of("LICENSE", b"x")]


def _names(*values: str, sources: tuple[Source, ...] = LISTED, **changes: Any) -> list[str]:
    kinds, extra = parse_sources(values)
    request = FetchRequest(
        trusted=trusted(manifest_of(ENTRIES, sources=sources)),
        directory=Path("/nowhere"),
        kinds=kinds,
        extra_sources=extra,
        **changes,
    )
    return [source.name for source in build_sources(request)]


HUB, HTTPS = "hub:org/name", "https:https://mirror.example/"
TORRENT, LOCAL = "torrent:5f96d43576e3", "local:tiny"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([], [HUB, HTTPS, TORRENT, LOCAL]),
        (["hub"], [HUB]),
        (["torrent", "https"], [HTTPS, TORRENT]),
        (["hub:a/b"], ["hub:a/b", HUB, HTTPS, TORRENT, LOCAL]),
        (["hub", "hub:a/b@main"], ["hub:a/b", HUB]),
        (["hub", "hub:org/name@main"], [HUB]),
        (["local", "https://x.example/y"], ["https:https://x.example/y/", LOCAL]),
        (["local", "https:https://x.example/y"], ["https:https://x.example/y/", LOCAL]),
        (["hub", "local:/some/where"], ["local:/some/where", HUB]),
        (["hub", "local=/some/where"], ["local:/some/where", HUB]),
    ],
)
def test_kinds_restrict_and_places_add(values: list[str], names: list[str]) -> None:
    assert _names(*values) == names


@pytest.mark.parametrize(
    "value", ["", "ftp", "ftp://x", "hub:", "local:", "https:", "https://", "HUB", ":x", "hub/x"]
)
def test_what_is_no_source(value: str) -> None:
    with pytest.raises(UsageError):
        _names(value)


@pytest.mark.parametrize("url", ["https://u:p@x.example/", "https://x.example/?q=1", "https://["])
def test_base_urls_hold_no_secrets_or_queries(url: str) -> None:
    with pytest.raises(UsageError):
        _names(url)


def test_a_torrent_of_the_users_own_replaces_the_listed_one() -> None:
    assert _names("hub", torrent="/x/tiny.torrent") == ["torrent:tiny.torrent", HUB]
    assert _names(torrent=MAGNET) == [TORRENT, HUB, HTTPS, LOCAL]


def test_offline_leaves_local_sources() -> None:
    assert _names(offline=True) == [LOCAL]
    with pytest.raises(NoSourceError, match="no local source"):
        _names("hub", offline=True)


def test_a_kind_that_is_not_listed() -> None:
    with pytest.raises(NoSourceError, match="no source of torrent is listed for tiny"):
        _names("torrent", sources=LISTED[:2])


def test_peers_need_a_torrent() -> None:
    with pytest.raises(UsageError, match="need a torrent"):
        _names("hub", peers=(("127.0.0.1", 1),))
    with pytest.raises(UsageError, match="need a torrent"):
        _names("hub", trackers=("http://127.0.0.1/announce",))


def _offered(*values: str) -> dict[str, list[str]]:
    kinds, extra = parse_sources(values)
    request = FetchRequest(
        trusted=trusted(manifest_of(ENTRIES, sources=LISTED)),
        directory=Path("/nowhere"),
        kinds=kinds,
        extra_sources=extra,
    )
    return {
        source.name: [entry.path for entry in ENTRIES if source.offers(entry)]
        for source in build_sources(request)
    }


def test_what_each_offers() -> None:
    assert _offered() == {
        HUB: ["ckpt-0/a"],
        HTTPS: ["LICENSE"],
        TORRENT: ["ckpt-0/a"],
        LOCAL: [],
    }


def test_the_hub_alone_and_a_hub_that_was_named_are_asked_for_everything() -> None:
    everything = ["ckpt-0/a", "LICENSE"]
    assert _offered("hub") == {HUB: everything}
    assert _offered("hub:a/b")["hub:a/b"] == everything


def test_a_plan_loads_neither_libtorrent_nor_the_hubs_client(repository: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from grokdist.transfer.engine import fetch
        from grokdist.transfer.plan import FetchRequest, make_plan
        from grokdist.transfer.sources.resolve import build_sources
        from grokdist.transfer.verify import verify
        from tests.transfer.sources.test_resolve import ENTRIES, LISTED
        from tests.transfer.models import manifest_of, trusted
        request = FetchRequest(
            trusted=trusted(manifest_of(ENTRIES, sources=LISTED)), directory=Path("/tmp/x")
        )
        make_plan(request, build_sources(request))
        print([name for name in ("libtorrent", "jax") if name in sys.modules])
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": f"{repository}:{repository}/runtime", "PATH": ""},
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.stdout == "[]\n"
