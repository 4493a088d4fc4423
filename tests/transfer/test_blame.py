"""Whose bytes were wrong: found out, at the cost of no more than that share."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError
from grokdist.transfer import part as part_module
from grokdist.transfer.engine import FetchResult, fetch
from grokdist.transfer.plan import make_plan
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.tree_writer import save_tree
from grokdist.trust.merkle import BLOCK, hash_blocks
from tests.servers.hub_server import Faults, HubServer
from tests.transfer.models import (
    HASTY,
    QUICK_HTTP,
    assert_complete,
    content,
    leave_part,
    plan_for,
    request_for,
    trusted,
)

SIZE = 3_000_000
FILES = {"f": content("f", SIZE), "g": content("g", 50_000)}
CALM = replace(HASTY, stall=30.0, idle=30.0)


class Notes(NoProgress):
    """Remembers what a person would have been told, and what was thrown away."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.thrown = 0

    def note(self, message: str) -> None:
        self.said.append(message)

    def lost(self, path: str, count: int) -> None:
        self.thrown += count


class LyingServer(HubServer):
    """Serves a file with every byte range spoilt that it sends: no share of it is right."""

    def __init__(self, files: dict[str, bytes], **changes: object) -> None:
        spoilt = {"f": bytes(byte ^ 1 for byte in files["f"][:4096]) * (SIZE // 4096 + 1)}
        super().__init__(files | {"f": spoilt["f"][:SIZE]}, faults=Faults(**changes))


@contextlib.contextmanager
def _servers(*kinds: type[HubServer], rate: int = 4 << 20) -> Iterator[list[HubServer]]:
    """Servers of one rate, so that each has a share of the one large file."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                kind(FILES, throttle=rate) if kind is LyingServer
                else kind(FILES, faults=Faults(throttle=rate))
            )
            for kind in kinds
        ]  # fmt: skip


def _sources(servers: list[HubServer]) -> list[HttpsSource]:
    return [HttpsSource(server.mirror, slots=1, settings=QUICK_HTTP) for server in servers]


def _fetch(directory: Path, servers: list[HubServer], notes: Notes | None = None) -> FetchResult:
    return fetch(plan_for(FILES, directory, *_sources(servers)), notes, patience=CALM)


def _split(directory: Path, servers: list[HubServer], *shares: tuple[int, int, int]) -> None:
    """Leave the file as an earlier run did that had these shares: server, start, end."""
    for place, start, end in shares:
        name = f"https:{servers[place].mirror}"
        served = servers[place]._state.files["f"].content
        assert served is not None
        leave_part(directory, "f", FILES["f"], (start, end), source=name, data=served)


def test_a_liar_among_two_is_found_and_costs_its_share(tmp_path: Path) -> None:
    with _servers(LyingServer, HubServer) as servers:
        notes = Notes()
        result = _fetch(tmp_path, servers, notes)
        liar, honest = (f"https:{server.mirror}" for server in servers)
        assert any(f"{liar}: f: wrong bytes" in each for each in notes.said), notes.said
        assert not any(f"{honest}: f: wrong bytes" in each for each in notes.said)
    assert_complete(tmp_path, FILES)
    (file,) = [each for each in result.receipt.files if each.path == "f"]
    assert file.sources == (honest,)
    # What is thrown away is the liar's share, once more an innocent one at the most.
    assert notes.thrown <= SIZE + SIZE // 2


def test_a_small_share_of_lies_costs_no_more_than_itself(tmp_path: Path) -> None:
    with _servers(LyingServer, HubServer, HubServer) as servers:
        _split(tmp_path, servers, (0, 1_000_000, 1_100_000), (1, 0, 1_000_000))
        notes = Notes()
        plan = plan_for(FILES, tmp_path, _sources(servers)[2], _sources(servers)[1])
        result = fetch(plan, notes, patience=CALM)
    assert_complete(tmp_path, FILES)
    assert notes.thrown == 100_000
    assert result.fetched_bytes == SIZE - 1_100_000 + 100_000 + 50_000
    (file,) = [each for each in result.receipt.files if each.path == "f"]
    assert f"https:{servers[0].mirror}" not in file.sources


@pytest.mark.parametrize("seed", range(3))
def test_two_liars_among_four_are_outvoted_by_the_digest(tmp_path: Path, seed: int) -> None:
    kinds = [LyingServer, LyingServer, HubServer, HubServer]
    random.Random(seed).shuffle(kinds)
    with _servers(*kinds) as servers:
        notes = Notes()
        result = _fetch(tmp_path, servers, notes)
        honest = {
            f"https:{server.mirror}" for server in servers if not isinstance(server, LyingServer)
        }
    assert_complete(tmp_path, FILES)
    (file,) = [each for each in result.receipt.files if each.path == "f"]
    assert set(file.sources) <= honest
    # Bounded: no more than the file as often as there are sources.
    assert result.fetched_bytes <= 5 * SIZE


def test_the_innocent_is_tried_cleared_and_needed_again(tmp_path: Path) -> None:
    with _servers(LyingServer, HubServer) as servers:
        _split(tmp_path, servers, (1, 0, 1_000_000), (0, 1_000_000, SIZE))
        notes = Notes()
        plan = plan_for(FILES, tmp_path, *_sources(servers), include=("f",))
        result = fetch(plan, notes, patience=CALM)
        liar, honest = (f"https:{server.mirror}" for server in servers)
    assert_complete(tmp_path, {"f": FILES["f"]})
    # The smaller share comes again from the liar, then all of it from the one that is left.
    assert result.sources == {liar: 1_000_000, honest: SIZE}
    assert result.receipt.files[0].sources == (honest,)
    assert not any(f"{honest}: f: wrong bytes;" in each for each in notes.said)


@pytest.mark.parametrize("liars", [2, 3])
def test_all_lie_and_the_digest_says_so(tmp_path: Path, liars: int) -> None:
    with _servers(*[LyingServer] * liars) as servers:
        with pytest.raises(DigestMismatchError) as caught:
            _fetch(tmp_path, servers)
        for server in servers:
            assert f"https:{server.mirror}" in str(caught.value)
        sent = sum(each.sent for server in servers for each in server.gets("f"))
        # A trial each, one of them alone each, and what was on its way.
        assert sent <= 3 * liars * SIZE
    assert caught.value.path == "f"
    assert not (tmp_path / "f").exists()
    # What is right stays.
    assert (tmp_path / "g").read_bytes() == FILES["g"]


def test_the_only_source_is_asked_once_more_where_an_earlier_run_is_to_blame(
    tmp_path: Path,
) -> None:
    with _servers(HubServer) as servers:
        name = f"https:{servers[0].mirror}"
        leave_part(tmp_path, "f", FILES["f"], (0, 500_000), source=name, data=bytes(SIZE))
        result = _fetch(tmp_path, servers)
        # The rest, and then all of it.
        assert result.fetched_bytes == 2 * SIZE - 500_000 + 50_000
    assert_complete(tmp_path, FILES)


def test_bytes_of_a_source_that_is_gone_are_blamed_too(tmp_path: Path) -> None:
    with _servers(HubServer) as servers:
        leave_part(tmp_path, "f", FILES["f"], (0, 500_000), source="gone", data=bytes(SIZE))
        notes = Notes()
        result = _fetch(tmp_path, servers, notes)
    assert_complete(tmp_path, FILES)
    assert result.fetched_bytes == SIZE + 50_000
    assert notes.thrown == 500_000
    assert any("gone: f: wrong bytes" in each for each in notes.said)


def test_a_hole_that_is_filled_before_the_rest_is_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last byte may come while another thread hashes: somebody must still finish the file."""
    reading = part_module.Part._hash_from_disk

    def slow(part: part_module.Part, buffer: memoryview) -> None:
        time.sleep(0.2)
        reading(part, buffer)

    monkeypatch.setattr(part_module.Part, "_hash_from_disk", slow)
    with _servers(HubServer, rate=64 << 20) as servers:
        leave_part(tmp_path, "f", FILES["f"], (0, SIZE - 300_000), source="good")
        leave_part(
            tmp_path, "f", FILES["f"], (SIZE - 300_000, SIZE - 250_000), source="gone",
            data=bytes(SIZE),
        )  # fmt: skip
        assert _fetch(tmp_path, servers).fetched_bytes == 300_000 + 50_000
    assert_complete(tmp_path, FILES)


def test_a_wrong_block_that_two_brought_together_convicts_nobody_innocent(tmp_path: Path) -> None:
    """With a tree whose root the manifest names: the border of two shares lies within a block."""
    border = 100 * BLOCK + 5000
    with ModelTree.create(tmp_path) as tree:
        root = save_tree(tree, "f", SIZE, hash_blocks(FILES["f"]))
    with _servers(LyingServer, HubServer) as servers:
        _split(tmp_path, servers, (1, 0, border), (0, border, SIZE))
        liar, honest = (f"https:{server.mirror}" for server in servers)
        request = request_for(FILES, tmp_path, include=("f",))
        manifest = request.trusted.manifest
        entries = tuple(replace(entry, pieces_root=root) for entry in manifest.files)
        request = replace(request, trusted=trusted(replace(manifest, files=entries)))
        notes = Notes()
        result = fetch(make_plan(request, _sources(servers)), notes, patience=CALM)
    assert_complete(tmp_path, {"f": FILES["f"]})
    assert any(f"{liar}: f: wrong bytes;" in each for each in notes.said), notes.said
    assert not any(f"{honest}: f: wrong bytes;" in each for each in notes.said)
    # The blocks that the liar had a part in, and nothing else.
    assert result.sources == {honest: SIZE - border // BLOCK * BLOCK}


def test_an_honest_source_is_asked_again_after_its_trial(tmp_path: Path) -> None:
    """The innocent are tried first where their share is the smaller one, and cleared."""
    with _servers(LyingServer, HubServer, HubServer) as servers:
        _split(tmp_path, servers, (1, 0, 200_000), (0, 200_000, 1_000_000))
        notes = Notes()
        plan = plan_for(FILES, tmp_path, _sources(servers)[1], _sources(servers)[2])
        result = fetch(plan, notes, patience=CALM)
        innocent = f"https:{servers[1].mirror}"
        assert not any(f"{innocent}: f: wrong bytes;" in each for each in notes.said)
    assert_complete(tmp_path, FILES)
    assert set(result.sources) == {f"https:{server.mirror}" for server in servers[1:]}


def test_a_digest_found_wrong_in_a_run_is_not_found_right_in_the_next(tmp_path: Path) -> None:
    with _servers(LyingServer) as servers:
        for _ in range(2):
            with pytest.raises(DigestMismatchError):
                _fetch(tmp_path, servers)
    with _servers(HubServer) as servers:
        _fetch(tmp_path, servers)
    assert_complete(tmp_path, FILES)
