"""Damage on disk is fetched again range by range, and nothing else is."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from grokdist.transfer.engine import FetchResult, fetch
from grokdist.transfer.plan import make_plan
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.record import read_receipt
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.tree import ModelTree
from grokdist.transfer.trees import tree_path
from tests.servers.hub_server import Faults, HubServer
from tests.transfer.models import (
    HASTY,
    QUICK_HTTP,
    assert_complete,
    content,
    hub,
    plan_for,
    trusted,
)

BLOCK = 16_384
SIZE = 3_000_001
FILES = {"ckpt-0/a": content("a", SIZE), "ckpt-0/b": content("b", 50_000), "empty": b""}


@pytest.fixture
def server():
    with HubServer(FILES) as server:
        yield server


def _fetch(server: HubServer, directory: Path, **changes: object) -> FetchResult:
    return fetch(plan_for(FILES, directory, hub(server.endpoint), **changes), patience=HASTY)


def _asked(server: HubServer, since: int) -> list[tuple[str, int, int]]:
    """File, first byte and bytes of each answer since ``since`` answers."""
    return [(each.file, each.offset, each.sent) for each in server.log[since:]]


def _flip(path: Path, *offsets: int) -> None:
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 0x40
    path.write_bytes(data)


def test_a_fetch_leaves_a_tree_a_file_and_its_root_in_the_receipt(
    server: HubServer, tmp_path: Path
) -> None:
    result = _fetch(server, tmp_path)
    roots = {file.path: file.pieces_root for file in result.receipt.files}
    assert roots["empty"] is None
    assert result.trees == 2
    for path in ("ckpt-0/a", "ckpt-0/b"):
        assert roots[path] is not None
        assert (tmp_path / tree_path(path)).is_file()
    with ModelTree(tmp_path) as tree:
        assert read_receipt(tree) == result.receipt


def test_only_the_damaged_blocks_come_again(server: HubServer, tmp_path: Path) -> None:
    first = _fetch(server, tmp_path)
    _flip(tmp_path / "ckpt-0/a", 0, 100 * BLOCK + 5, 101 * BLOCK, SIZE - 1)
    asked = len(server.log)
    result = _fetch(server, tmp_path, repair=True)
    last = SIZE // BLOCK * BLOCK
    assert sorted(_asked(server, asked)) == [
        ("ckpt-0/a", 0, BLOCK),
        ("ckpt-0/a", 100 * BLOCK, 2 * BLOCK),
        ("ckpt-0/a", last, SIZE - last),
    ]
    assert result.fetched_bytes == 3 * BLOCK + SIZE - last
    assert_complete(tmp_path, FILES)
    # It is the same file from the same source as before.
    assert result.receipt.files == first.receipt.files


def test_a_file_cut_short_gets_its_end_back(server: HubServer, tmp_path: Path) -> None:
    _fetch(server, tmp_path)
    with (tmp_path / "ckpt-0/a").open("r+b") as stream:
        stream.truncate(1_000_000)
    asked = len(server.log)
    # A wrong size shows without a full check.
    result = _fetch(server, tmp_path)
    start = 1_000_000 // BLOCK * BLOCK
    assert _asked(server, asked) == [("ckpt-0/a", start, SIZE - start)]
    assert result.fetched_bytes == SIZE - start
    assert_complete(tmp_path, FILES)


def test_a_file_that_grew_loses_what_is_too_much(server: HubServer, tmp_path: Path) -> None:
    _fetch(server, tmp_path)
    with (tmp_path / "ckpt-0/a").open("ab") as stream:
        stream.write(b"more")
    asked = len(server.log)
    result = _fetch(server, tmp_path)
    assert _asked(server, asked) == []
    assert result.fetched_bytes == 0
    assert_complete(tmp_path, FILES)


def test_without_its_tree_a_damaged_file_comes_whole(server: HubServer, tmp_path: Path) -> None:
    _fetch(server, tmp_path, trees=False)
    assert not (tmp_path / tree_path("ckpt-0/a")).exists()
    _flip(tmp_path / "ckpt-0/a", 5)
    result = _fetch(server, tmp_path, repair=True, trees=False)
    assert result.fetched_bytes == SIZE
    assert_complete(tmp_path, FILES)


def test_a_tree_that_was_tampered_with_costs_bytes_and_lets_nothing_wrong_through(
    server: HubServer, tmp_path: Path
) -> None:
    _fetch(server, tmp_path)
    _flip(tmp_path / "ckpt-0/a", 12_345)
    _flip(tmp_path / tree_path("ckpt-0/a"), 60)
    _fetch(server, tmp_path, repair=True)
    assert_complete(tmp_path, FILES)


def test_an_interrupted_repair_goes_on(server: HubServer, tmp_path: Path) -> None:
    _fetch(server, tmp_path)
    damaged = random.Random(7).sample(range(SIZE // BLOCK), 20)
    _flip(tmp_path / "ckpt-0/a", *(BLOCK * place for place in damaged))

    class Interrupting(NoProgress):
        """Interrupts after the first bytes."""

        def advance(self, source: str, path: str, count: int) -> None:
            if source != "disk":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(
            plan_for(FILES, tmp_path, hub(server.endpoint), repair=True),
            Interrupting(),
            patience=HASTY,
        )
    asked = len(server.log)
    _fetch(server, tmp_path)
    assert sum(sent for _, _, sent in _asked(server, asked)) <= 20 * BLOCK
    assert_complete(tmp_path, FILES)


def test_a_fetch_of_what_is_right_builds_the_trees_that_are_absent(
    server: HubServer, tmp_path: Path
) -> None:
    assert _fetch(server, tmp_path, trees=False).trees == 0
    result = _fetch(server, tmp_path)
    assert (result.fetched_bytes, result.trees) == (0, 2)


def test_a_tree_whose_root_is_in_the_manifest_tells_a_liar_from_the_honest(
    tmp_path: Path,
) -> None:
    with HubServer(FILES) as honest:
        first = _fetch(honest, tmp_path)
    roots = {file.path: file.pieces_root for file in first.receipt.files}
    (tmp_path / "ckpt-0/a").unlink()
    spoilt = bytearray(FILES["ckpt-0/a"])
    for offset in range(0, SIZE, 10 * BLOCK):
        spoilt[offset] ^= 1
    slow = Faults(throttle=1 << 20)
    with (
        HubServer(FILES, faults=slow) as honest,
        HubServer(FILES | {"ckpt-0/a": bytes(spoilt)}, faults=slow) as liar,
    ):
        sources = [HttpsSource(each.mirror, settings=QUICK_HTTP) for each in (liar, honest)]
        plan = plan_for(FILES, tmp_path, *sources)
        files = tuple(
            replace(entry, pieces_root=roots[entry.path])
            for entry in plan.request.trusted.manifest.files
        )
        manifest = replace(plan.request.trusted.manifest, files=files)
        request = replace(plan.request, trusted=trusted(manifest))
        result = fetch(make_plan(request, sources), patience=HASTY)
        shares = dict(result.sources)
    assert_complete(tmp_path, FILES)
    # Of what the liar brought, the wrong blocks came again, and nothing else.
    lied = shares[sources[0].name]
    assert lied > SIZE // 10
    assert 0 < result.fetched_bytes - SIZE < lied // 4
