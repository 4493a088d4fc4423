"""Requests and the heads of answers as they stand on the wire (RFC 9112), without a connection.

Heads are read strictly: what is not HTTP/1.x is refused, and so is an answer whose length can be
read in two ways, since the rest of the connection would be taken for something it is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

MOST_HEAD = 1 << 16
"""Bytes that the head of an answer may have."""

HEAD_END = re.compile(rb"\n\r?\n")
"""What ends a head; a line may end in LF alone (RFC 9112, 2.2)."""

NOT_HTTP = "the connection broke, or the answer is not HTTP"

_STATUS_LINE = re.compile(r"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: .*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SENT_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;.*)?")
_PATH_SAFE = "/!$&'()*+,;=:@%~"
_DOT_SEGMENT = re.compile(r"/\.\.?(?:/|$)")
_HOST = re.compile(r"[0-9A-Za-z._~:%-]{1,255}")
_DEFAULT_PORTS = {"http": 80, "https": 443}

Server = tuple[str, str, int]
"""Scheme, host and port."""


class HttpError(Exception):
    """A request came to nothing.

    Attributes:
        reason: for people; it holds neither a URL nor a header, which may be secret.
        permanent: asking again cannot help.
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.permanent = permanent


class Headers(Mapping[str, str]):
    """The headers of an answer, by name in any case; fields of one name are joined by commas."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, str]) -> None:
        """Headers by their names in lower case."""
        self._fields = fields

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The head of an answer.

    Attributes:
        status: its status.
        headers: its headers.
        chunked: True where the body comes in chunks.
        length: bytes of the body; None where its chunks or the connection's end say it.
        keeps: True where the server keeps the connection open after the body.
    """

    status: int
    headers: Headers
    chunked: bool
    length: int | None
    keeps: bool


def parse_head(data: bytes) -> Head:
    """Read a head, without the empty line that ends it.

    Raises:
        HttpError: it is none, or contradicts itself.
    """
    first, *lines = data.decode("latin-1").split("\n")
    match = _STATUS_LINE.fullmatch(first.removesuffix("\r"))
    if match is None:
        raise HttpError(NOT_HTTP)
    fields: dict[str, str] = {}
    last = ""
    for line in lines:
        name, colon, value = line.removesuffix("\r").partition(":")
        if last and name[:1] in (" ", "\t"):
            # A folded line goes on with the field before it (RFC 9112, 5.2).
            name, colon, value = last, ":", f"{fields.pop(last)} {name.strip()}{colon}{value}"
        value = value.strip(" \t")
        # What else no value should hold is left to whoever makes use of it (RFC 9110, 5.5).
        if not colon or not _NAME.fullmatch(name) or "\r" in value or "\0" in value:
            raise HttpError(NOT_HTTP)
        last = name.lower()
        fields[last] = f"{fields[last]}, {value}" if last in fields else value
    status, coding = int(match[2]), fields.get("transfer-encoding", "").lower()
    if coding not in ("", "chunked"):
        raise HttpError(NOT_HTTP)
    length = 0 if status < 200 or status in (204, 304) else _length(fields)
    wishes = {each.strip() for each in fields.get("connection", "").lower().split(",")}
    # A length beside chunks may be an attempt to have two readers see two bodies (6.1).
    keeps = "close" not in wishes and not (coding and "content-length" in fields)
    return Head(
        status=status,
        headers=Headers(fields),
        chunked=bool(coding) and length is None,
        length=length,
        keeps=keeps if match[1] != "0" else keeps and "keep-alive" in wishes,
    )


def chunk_size(line: bytes) -> int:
    """Bytes of the chunk that a line begins.

    Raises:
        HttpError: it begins none.
    """
    match = _CHUNK_LINE.fullmatch(line)
    if match is None:
        raise HttpError(NOT_HTTP)
    return int(match[1], 16)


def get_request(parts: SplitResult, server: Server, headers: Mapping[str, str]) -> bytes:
    """A GET.

    Raises:
        HttpError: a header holds what no header may hold.
    """
    lines = [f"GET {_target(parts)} HTTP/1.1", f"Host: {_authority(server)}"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _SENT_VALUE.fullmatch(value):
            raise HttpError(f"the header {name[:40]!r} cannot be sent", permanent=True)
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def split_url(url: str) -> tuple[SplitResult, Server]:
    """The parts of a URL, and where it is asked.

    Raises:
        HttpError: it is none, or names no server that speaks HTTP.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
        if _HOST.fullmatch(host):
            return parts, (parts.scheme, host, parts.port or _DEFAULT_PORTS[parts.scheme])
    except (ValueError, KeyError):
        pass
    raise HttpError("the URL is not valid", permanent=True)


def _length(fields: dict[str, str]) -> int | None:
    """Bytes of the body, where a length says it; what is no number is left to whoever reads it."""
    if "transfer-encoding" in fields or "content-length" not in fields:
        return None
    told = {each.strip() for each in fields["content-length"].split(",")}
    if len(told) > 1:
        raise HttpError("the answer contradicts itself")
    text = told.pop()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _target(parts: SplitResult) -> str:
    path = parts.path or "/"
    if _DOT_SEGMENT.search(path):
        # As a relative one: of two slashes at its front, what follows would be taken for a host.
        path = urljoin("http://host/", f".{path}").removeprefix("http://host")
    path = quote(path, safe=_PATH_SAFE)
    return f"{path}?{quote(parts.query, safe=_PATH_SAFE + '?')}" if parts.query else path


def _authority(server: Server) -> str:
    scheme, host, port = server
    shown = f"[{host.partition('%')[0]}]" if ":" in host else host
    return shown if port == _DEFAULT_PORTS[scheme] else f"{shown}:{port}"
