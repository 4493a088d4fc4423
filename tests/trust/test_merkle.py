"""The tree is BEP 52's: as libtorrent computes it, and as the definition says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokdist.trust.merkle import BLOCK, DIGEST, count, hash_blocks, layer, node, root
from grokdist.trust.sha256_of_many import use
from tests.trust.many import sha256_of_many


@pytest.fixture(params=["hashlib", "of many"], autouse=True, scope="module")
def _hashed_by(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test sees both: one message after the other, and many at once."""
    use(None if request.param == "hashlib" else sha256_of_many())
    yield
    use(None)


SIZES = [
    1,
    BLOCK - 1,
    BLOCK,
    BLOCK + 1,
    2 * BLOCK,
    3 * BLOCK,
    5 * BLOCK + 7,
    64 * BLOCK,
    64 * BLOCK + 1,
    129 * BLOCK - 5,
]


def _plain(leaves: list[bytes]) -> bytes:
    """BEP 52, word by word: pad the leaves to a power of two, hash pairs until one is left."""
    width = 1 << (len(leaves) - 1).bit_length()
    nodes = leaves + [bytes(32)] * (width - len(leaves))
    while len(nodes) > 1:
        nodes = [sha256(a + b).digest() for a, b in zip(nodes[::2], nodes[1::2], strict=True)]
    return nodes[0]


def _split(leaves: bytes) -> list[bytes]:
    return [leaves[at : at + DIGEST] for at in range(0, len(leaves), DIGEST)]


def test_roots_are_those_that_libtorrent_puts_into_a_torrent(tmp_path: Path) -> None:
    contents = {f"f{size:08}": random.Random(size).randbytes(size) for size in SIZES}
    (tmp_path / "t").mkdir()
    for name, data in contents.items():
        (tmp_path / "t" / name).write_bytes(data)
    entries = [lt.create_file_entry(f"t/{name}", len(data)) for name, data in contents.items()]
    torrent = lt.create_torrent(entries, 4 * BLOCK, lt.create_torrent.v2_only)
    lt.set_piece_hashes(torrent, str(tmp_path))
    generated = torrent.generate()
    layout = lt.load_torrent_buffer(lt.bencode(generated)).ti.layout()
    seen = {}
    for index in range(layout.num_files()):
        if not layout.file_flags(index) & lt.file_flags_t.flag_pad_file:
            seen[layout.file_name(index)] = layout.root(index).to_bytes()
    assert seen == {name: root(hash_blocks(data)) for name, data in contents.items()}
    layers = generated[b"piece layers"]
    for data in contents.values():
        leaves = hash_blocks(data)
        if len(data) > 4 * BLOCK:
            assert layers[root(leaves)] == layer(leaves, 4 * BLOCK)


@pytest.mark.parametrize("size", SIZES)
def test_blocks_are_hashed_one_by_one(size: int) -> None:
    data = random.Random(size).randbytes(size)
    blocks = [data[at : at + BLOCK] for at in range(0, size, BLOCK)]
    assert hash_blocks(data) == b"".join(sha256(block).digest() for block in blocks)
    assert hash_blocks(memoryview(bytearray(data))) == hash_blocks(data)
    assert count(size) == len(blocks)


@given(number=st.integers(1, 300), seed=st.integers(0, 9))
def test_a_root_is_what_the_definition_says(number: int, seed: int) -> None:
    leaves = random.Random(seed).randbytes(DIGEST * number)
    assert root(leaves) == _plain(_split(leaves))


@given(number=st.integers(1, 300), height=st.integers(0, 9), seed=st.integers(0, 9))
def test_every_layer_leads_to_the_root(number: int, height: int, seed: int) -> None:
    leaves = random.Random(seed).randbytes(DIGEST * number)
    span = BLOCK << height
    nodes = layer(leaves, span)
    assert len(nodes) == DIGEST * count(number * BLOCK, span)
    assert root(nodes, span) == root(leaves)
    assert layer(nodes, 4 * span, base=span) == layer(leaves, 4 * span)
    if number * BLOCK > span:
        # Each node can be computed from its own range alone.
        parts = [leaves[at : at + (DIGEST << height)] for at in range(0, len(leaves), 32 << height)]
        assert b"".join(node(part, span) for part in parts) == nodes


@given(number=st.integers(2, 200), data=st.data())
def test_any_change_of_a_leaf_changes_the_root(number: int, data: st.DataObject) -> None:
    leaves = _split(random.Random(number).randbytes(DIGEST * number))
    right = root(b"".join(leaves))
    place = data.draw(st.integers(0, number - 1))
    flipped = list(leaves)
    flipped[place] = bytes([leaves[place][0] ^ 1]) + leaves[place][1:]
    assert root(b"".join(flipped)) != right
    other = data.draw(st.integers(0, number - 1).filter(lambda at: at != place))
    swapped = list(leaves)
    swapped[place], swapped[other] = leaves[other], leaves[place]
    assert root(b"".join(swapped)) != right


def test_a_root_alone_does_not_tell_content_from_leaves() -> None:
    leaves = hash_blocks(bytes(2 * BLOCK))
    assert root(hash_blocks(leaves)) == root(leaves)


def test_an_empty_file_has_no_tree() -> None:
    assert hash_blocks(b"") == b""
    assert count(0) == 0
    with pytest.raises(ValueError, match="0 bytes of nodes"):
        root(b"")
    with pytest.raises(ValueError, match="0 bytes of nodes"):
        layer(b"", BLOCK)


@pytest.mark.parametrize("span", [0, -BLOCK, 1, BLOCK - 1, BLOCK + 1, 3 * BLOCK, BLOCK << 70])
def test_a_span_that_no_layer_has(span: int) -> None:
    for each in (layer, node, root):
        with pytest.raises(ValueError, match="span"):
            each(bytes(32), span)


def test_lengths_that_no_layer_has() -> None:
    with pytest.raises(ValueError, match="expected at least"):
        layer(bytes(32), BLOCK, base=2 * BLOCK)
    with pytest.raises(ValueError, match="33 bytes of nodes"):
        root(bytes(33))
    with pytest.raises(ValueError, match="3 leaves; expected at most 2"):
        node(bytes(96), 2 * BLOCK)
