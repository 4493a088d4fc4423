"""The hash tree that BEP 52 puts over one file: SHA-256 of 16 KiB blocks, hashed in pairs.

A leaf is the SHA-256 of a block; the last block of a file is hashed as short as it is. The leaves
are padded with 32 zero bytes to a power of two and hashed pairwise up to the root. The root depends
on the content alone, so the same 32 bytes name the file in a manifest, a receipt and any v2 torrent
(https://www.bittorrent.org/beps/bep_0052.html). A node of an upper layer covers a larger span and
is checked without the leaves below it.

Bytes in, bytes out; no file is read here. A root together with a size proves content as a
SHA-256 does. Without the size it does not: the 64 bytes of two leaves, taken as a file, have the
root of the file that the leaves are of.
"""

from __future__ import annotations

from hashlib import sha256

from grokdist.trust.sha256_of_many import in_use

BLOCK = 16384
"""Bytes of content that one leaf covers."""

DIGEST = 32
"""Bytes of a leaf, a node or a root."""

_MANY = 8
"""Messages that hashlib takes as long for, one after the other, as sixteen take at once."""


def count(size: int, span: int = BLOCK) -> int:
    """Nodes of ``span`` bytes that a file of ``size`` bytes has."""
    return -(-size // span)


def hash_blocks(data: bytes | bytearray | memoryview) -> bytes:
    """The leaves of ``data``, which starts at a block boundary; its last block may be short.

    Returns:
        32 bytes for each block, concatenated; nothing for no data.
    """
    return _digests(memoryview(data), BLOCK)


def layer(nodes: bytes, span: int, *, base: int = BLOCK) -> bytes:
    """The nodes that each cover ``span`` bytes, concatenated.

    The last one is padded as BEP 52 pads. A file of at most ``span`` bytes has one node, its root
    (BEP 52 gives such a file no layer), so ``root(layer(leaves, span), span)`` is always the root.

    Args:
        nodes: the leaves of the whole file, or all nodes of a lower layer.
        span: a power of two, at least ``base``.
        base: bytes that each of ``nodes`` covers.

    Raises:
        ValueError: there are no nodes, or a length is not one.
    """
    height, top = _height(base), _height(span)
    if top < height:
        raise ValueError(f"span {span} does not do; expected at least {base}")
    nodes = _checked(nodes)
    while height < top and len(nodes) > DIGEST:
        nodes = _pairs(nodes, _PADDING[height])
        height += 1
    return nodes


def root(nodes: bytes, span: int = BLOCK) -> bytes:
    """The root of a file.

    Args:
        nodes: its leaves, or all nodes of a layer.
        span: bytes that each of ``nodes`` covers.

    Raises:
        ValueError: there are no nodes (an empty file has no root), or a length is not one.
    """
    height = _height(span)
    nodes = _checked(nodes)
    while len(nodes) > DIGEST:
        nodes = _pairs(nodes, _PADDING[height])
        height += 1
    return nodes


def node(leaves: bytes, span: int) -> bytes:
    """The one node over at most ``span`` bytes that lie inside a file larger than ``span``.

    Raises:
        ValueError: there are no leaves, more than ``span`` holds, or a length is not one.
    """
    height = _height(span)
    nodes = _checked(leaves)
    if len(nodes) > DIGEST << height:
        raise ValueError(f"{len(nodes) // DIGEST} leaves; expected at most {1 << height}")
    for level in range(height):
        nodes = _pairs(nodes, _PADDING[level])
    return nodes


def _pairs(nodes: bytes, padding: bytes) -> bytes:
    """The layer above."""
    if len(nodes) % (2 * DIGEST):
        nodes += padding
    return _digests(memoryview(nodes), 2 * DIGEST)


def _digests(data: memoryview, length: int) -> bytes:
    """The digests of messages of ``length`` bytes, concatenated; the last may be short.

    Many at once where there is code for it. hashlib releases the interpreter lock for each block,
    so threads run side by side, though they wait for that lock now and then; OpenSSL called through
    ctypes is no faster and waits more.
    """
    digests, start = b"", 0
    if len(data) >= _MANY * length and (library := in_use()) is not None:
        start = len(data) - len(data) % length
        digests = library.digests(data[:start], length)
    one_by_one = [
        sha256(data[each : each + length]).digest() for each in range(start, len(data), length)
    ]
    return digests + b"".join(one_by_one)


def _checked(nodes: bytes) -> bytes:
    if not nodes or len(nodes) % DIGEST:
        raise ValueError(f"{len(nodes)} bytes of nodes; expected a multiple of {DIGEST}, not 0")
    return nodes


def _height(span: int) -> int:
    """Layers between the leaves and the nodes that cover ``span`` bytes."""
    height = (span // BLOCK).bit_length() - 1
    if height < 0 or span != BLOCK << height or height >= len(_PADDING):
        raise ValueError(f"span {span} does not do; expected a power of two of at least {BLOCK}")
    return height


def _paddings(layers: int) -> tuple[bytes, ...]:
    """What stands for content past the end, from the leaves up."""
    nodes = [bytes(DIGEST)]
    for _ in range(layers - 1):
        nodes.append(sha256(nodes[-1] * 2).digest())
    return tuple(nodes)


# 64 layers reach further than any file.
_PADDING = _paddings(64)
