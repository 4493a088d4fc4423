"""Changes to an input that keep most of its form, so that a parser is tried beyond its first check.

Bytes that are flipped at random are refused by the first line of any parser. Each function here
knows a format: it takes a valid input apart, changes one or a few places and puts it together
again with lengths and nesting that hold, and now and then with some that do not.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import random
import struct
from collections.abc import Callable
from typing import Any

Mutate = Callable[[random.Random, bytes], bytes]

MAX_SIZE = 16 << 10
"""Bytes of an input that is changed further; larger ones only cost time."""

_NUMBERS = (-1, 0, 1, 2, 7, 15, 16, 64, 127, 128, 255, 256, 4096, 65535, 2**31 - 1, 2**31, 2**32)
_LARGE = (2**53 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), 10**20)
_TEXTS = (
    "",
    ".",
    "..",
    "/",
    "a/../b",
    "a\\b",
    "\0",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "\u0130",
    "e\u0301",
    "CON",
    "A" * 300,
    "0" * 64,
    "f" * 40,
    "2024-02-30",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "https://[::1",
    "https://h:99999/",
    "magnet:?xt=urn:btih:" + "0" * 40,
    "nan",
    "1e999",
)


def any_bytes(rng: random.Random, data: bytes) -> bytes:
    """A few bytes flipped, put in, left out, said twice, or all after a place gone."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.randrange(256)
            case 2:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 8)))
            case 3:
                del changed[at : at + rng.choice((1, 2, 8, 64))]
            case 4:
                changed[at:at] = changed[at : at + rng.choice((1, 4, 32))] * rng.choice((1, 3))
            case _:
                layout = rng.choice(("<H", "<I", ">I", "<Q"))
                size = struct.calcsize(layout)
                number = rng.choice((*_NUMBERS, *_LARGE)) % (1 << 8 * size)
                changed[at : at + size] = struct.pack(layout, number)
    if rng.random() < 0.05:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed[:MAX_SIZE])


def json_tree(rng: random.Random, data: bytes) -> bytes:
    """A member, value or key of a JSON document changed; inside base64 too, where it is JSON."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return any_bytes(rng, data)
    holder = [tree]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change_tree(rng, holder)
    text = json.dumps(holder[0], ensure_ascii=rng.random() < 0.9).encode("utf-8", "surrogatepass")
    quirk = rng.random()
    if quirk < 0.02:
        text = text.replace(b"{", b'{"schema":1,"schema":2,', 1)
    elif quirk < 0.04:
        depth = rng.choice((20, 1_000, 5_000))
        text = text.replace(b":", b":" + b"[" * depth, 1)
    elif quirk < 0.10:
        text = any_bytes(rng, text)
    return text[: 4 * MAX_SIZE]


def bencode_tree(rng: random.Random, data: bytes) -> bytes:
    """A value or key of a bencoded document changed; lengths hold."""
    try:
        tree, end = _bdecode(data, 0, 0)
    except (ValueError, TypeError, RecursionError):  # no bencoding, or a key that cannot be one
        return any_bytes(rng, data)
    holder = [tree]
    for _ in range(rng.choice((1, 1, 2))):
        _change_tree(rng, holder)
    written = bencode(holder[0]) + data[end:]
    return any_bytes(rng, written) if rng.random() < 0.1 else written[: 4 * MAX_SIZE]


def pickle_opcodes(rng: random.Random, data: bytes) -> bytes:
    """Opcodes left out, said twice, exchanged, or with another operand; the frame holds again."""
    try:
        pieces = _opcodes(data)
    except (ValueError, IndexError):
        return any_bytes(rng, data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(pieces))
        match rng.randrange(6):
            case 0:
                del pieces[at]
            case 1:
                pieces.insert(at, rng.choice(pieces))
            case 2:
                other = rng.randrange(len(pieces))
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case 3:
                pieces[at] = any_bytes(rng, pieces[at])
            case 4:
                pieces.insert(at, bytes([rng.choice(_OPCODES)]))
            case _:
                number = rng.choice((*_NUMBERS, *_LARGE)) % 2**32
                pieces[at] = rng.choice(
                    (
                        b"K" + bytes([number % 256]),
                        b"M" + struct.pack("<H", number % 65536),
                        b"J" + struct.pack("<I", number),
                        b"B" + struct.pack("<I", number),
                        b"h" + bytes([number % 256]),
                        b"\x8e" + struct.pack("<Q", number),
                    )
                )
        if not pieces:
            return b"\x80\x04."
    body = b"".join(pieces)
    length = len(body) if rng.random() < 0.95 else rng.choice(_LARGE) % 2**64
    return (b"\x80\x04\x95" + struct.pack("<Q", length) + body)[: 4 * MAX_SIZE]


def safetensors_file(rng: random.Random, data: bytes) -> bytes:
    """The JSON header of a safetensors file changed; mostly its length and the data still fit."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8 or rng.random() < 0.1:
        return any_bytes(rng, data)
    header, body = json_tree(rng, data[8 : 8 + length]), data[8 + length :]
    if rng.random() < 0.3:
        body = body[: rng.randrange(len(body) + 1)] if rng.random() < 0.5 else body * 2
    if rng.random() < 0.3:
        header += b" " * rng.choice((1, 8, 64, 4096))
    said = len(header) if rng.random() < 0.95 else rng.choice((*_NUMBERS, *_LARGE)) % 2**64
    return (struct.pack("<Q", said) + header + body)[: 4 * MAX_SIZE]


def lines(rng: random.Random, data: bytes) -> bytes:
    """Lines left out, said twice or exchanged; words and numbers of one changed."""
    parts = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(parts))
        match rng.randrange(6):
            case 0 if len(parts) > 1:
                del parts[at]
            case 1:
                parts.insert(at, rng.choice(parts))
            case 2:
                other = rng.randrange(len(parts))
                parts[at], parts[other] = parts[other], parts[at]
            case 3:
                parts[at] = any_bytes(rng, parts[at])
            case 4:
                parts[at] = _other_word(rng, parts[at])
            case _:
                name, separator, _ = parts[at].partition(rng.choice((b": ", b" = ", b"=")))
                value = rng.choice((_value(rng), b"[" * rng.choice((1, 3, 3000)), b"9" * 5000))
                text = value if isinstance(value, bytes) else json.dumps(value).encode()
                parts[at] = name + separator + text
        if not parts:
            return b""
    return b"\n".join(parts)[: 4 * MAX_SIZE]


def _other_word(rng: random.Random, line: bytes) -> bytes:
    words = line.split(b" ")
    at = rng.randrange(len(words))
    words[at] = rng.choice(
        (
            str(rng.choice((*_NUMBERS, *_LARGE))).encode(),
            rng.choice(_TEXTS).encode("utf-8", "surrogatepass"),
            rng.choice(words),
            b"",
        )
    )
    return b" ".join(words)


def _value(rng: random.Random) -> Any:
    match rng.randrange(9):
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2 | 3:
            return rng.choice(_NUMBERS)
        case 4:
            return rng.choice(_LARGE)
        case 5:
            return rng.choice((0.5, -0.0, 1e300, 1e-300, float("inf"), float("nan")))
        case 6:
            return rng.choice(([], {}, [[]], [0], {"": None}))
        case _:
            return rng.choice(_TEXTS)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place below a list or dictionary, as the container and its key."""
    found: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        container = pending.pop()
        keys = container if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                pending.append(container[key])
    return found


def _change_tree(rng: random.Random, holder: list[Any]) -> None:
    """Change one place of the tree that ``holder`` holds."""
    places = _places(holder)
    container, key = rng.choice(places)
    value = container[key]
    match rng.randrange(8):
        case 0 if isinstance(container, dict):
            del container[key]
        case 0 if container is not holder:
            del container[key]
        case 1 if isinstance(container, list) and container is not holder:
            container.insert(key, value)
        case 2 if isinstance(container, dict):
            kind = type(key)
            name = (
                rng.choice(_TEXTS) if kind is str else rng.choice(_TEXTS).encode("utf-8", "replace")
            )
            container[name] = value
        case 3:
            other, name = rng.choice(places)
            if name in other if isinstance(other, dict) else name < len(other):
                container[key] = _copied(other[name])
        case 4 | 5:
            container[key] = _close_to(rng, value)
        case _:
            container[key] = _value(rng)


def _copied(value: Any) -> Any:
    """A copy, so that a tree never comes to hold itself."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _close_to(rng: random.Random, value: Any) -> Any:
    """A value of the same type, a little other."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((value + 1, value - 1, -value, value * 2, value + 2**32))
    if isinstance(value, bytes):
        return any_bytes(rng, value)
    if isinstance(value, str):
        return _nested(rng, value) if len(value) > 16 and rng.random() < 0.7 else _text(rng, value)
    if isinstance(value, list) and value:
        return rng.choice((value[::-1], value * 2, value[1:], [value]))
    return _value(rng)


def _text(rng: random.Random, value: str) -> str:
    at = rng.randrange(len(value) + 1)
    put_in = rng.choice((*_TEXTS, "", value[:1], value, chr(rng.randrange(0x250))))
    return value[:at] + put_in + value[at + rng.choice((0, 1, 1, 4)) :]


def _nested(rng: random.Random, value: str) -> str:
    """Base64 that holds JSON or anything else, changed inside."""
    try:
        inner = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return _text(rng, value)
    change = json_tree if inner[:1] in (b"{", b"[") else any_bytes
    return base64.b64encode(change(rng, inner)).decode()


def _opcodes(data: bytes) -> list[bytes]:
    """A pickle cut at its opcodes, without protocol and frame."""
    starts = [position for _, _, position in pickletools.genops(data) if position is not None]
    pieces = [data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True)]
    return [piece for piece in pieces if piece[:1] not in (b"\x80", b"\x95")]


_OPCODES = b"".join(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)

_DEEPEST = 60


def _bdecode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    kind = data[at : at + 1]
    if kind == b"i":
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if kind in (b"l", b"d"):
        values = []
        at += 1
        while data[at : at + 1] != b"e":
            value, at = _bdecode(data, at, depth + 1)
            values.append(value)
        if kind == b"l":
            return values, at + 1
        return dict(zip(values[::2], values[1::2], strict=True)), at + 1
    colon = data.index(b":", at)
    length = int(data[at:colon])
    end = colon + 1 + length
    # A length below zero would lead back to what was read, without an end.
    if length < 0 or end > len(data):
        raise ValueError("no such length")
    return data[colon + 1 : end], end


def bencode(value: Any) -> bytes:
    match value:
        case bool() | int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case list():
            return b"l" + b"".join(map(bencode, value)) + b"e"
        case dict():
            items = sorted((_bytes(key), each) for key, each in value.items())
            return b"d" + b"".join(bencode(key) + bencode(each) for key, each in items) + b"e"
        case _:
            return bencode(_bytes(value))


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
