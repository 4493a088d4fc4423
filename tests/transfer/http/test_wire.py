"""Heads of answers and requests: what they say, and what is refused."""

from __future__ import annotations

import pytest

from grokdist.transfer.sources.http_wire import (
    HttpError,
    chunk_size,
    get_request,
    parse_head,
    split_url,
)


def _head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, *lines]).encode("latin-1")


def test_a_head_says_what_follows() -> None:
    head = parse_head(_head("Content-Length: 7", 'ETag:"x"', "Server:  a b \t"))
    assert (head.status, head.length, head.chunked, head.keeps) == (200, 7, False, True)
    assert dict(head.headers) == {"content-length": "7", "etag": '"x"', "server": "a b"}
    assert head.headers["ETag"] == head.headers.get("eTAG") == '"x"'
    assert "content-LENGTH" in head.headers
    assert head.headers.get("Location") is None


@pytest.mark.parametrize(
    ("lines", "length", "chunked"),
    [
        ([], None, False),
        (["Content-Length: 5", "Content-Length: 5"], 5, False),
        (["Content-Length: 5, 5"], 5, False),
        (["Content-Length: five"], None, False),
        (["Content-Length: -1"], None, False),
        (["Content-Length: \xb2"], None, False),
        ([f"Content-Length: {10**20}"], None, False),
        (["Transfer-Encoding: Chunked"], None, True),
        (["Transfer-Encoding: chunked", "Content-Length: 5"], None, True),
    ],
)
def test_how_a_body_is_framed(lines: list[str], length: int | None, chunked: bool) -> None:
    head = parse_head(_head(*lines))
    assert (head.length, head.chunked) == (length, chunked)


@pytest.mark.parametrize("status", [204, 304, 103])
def test_answers_that_have_no_body(status: int) -> None:
    head = parse_head(_head("Transfer-Encoding: chunked", status=f"HTTP/1.1 {status} x"))
    assert (head.length, head.chunked) == (0, False)


@pytest.mark.parametrize(
    ("status", "lines", "keeps"),
    [
        ("HTTP/1.1 200 OK", ["Connection: close"], False),
        ("HTTP/1.1 200 OK", ["Connection: Upgrade, Close"], False),
        ("HTTP/1.1 200 OK", ["Connection: keep-alive"], True),
        ("HTTP/1.0 200 OK", [], False),
        ("HTTP/1.0 200 OK", ["Connection: Keep-Alive"], True),
        # Two readers may see two bodies.
        ("HTTP/1.1 200 OK", ["Content-Length: 1", "Transfer-Encoding: chunked"], False),
    ],
)
def test_whether_the_connection_goes_on(status: str, lines: list[str], keeps: bool) -> None:
    assert parse_head(_head(*lines, status=status)).keeps is keeps


def test_folded_and_repeated_fields_are_joined() -> None:
    head = parse_head(b"HTTP/1.1 200\nA: b\n  c:d\nB: 1\na: e\n\tf")
    assert dict(head.headers) == {"a": "b c:d, e f", "b": "1"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/2 200 OK",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1  200 OK",
        b"ICY 200 OK",
        b"<html>",
        _head("no colon"),
        _head(": no name"),
        _head("a b: c"),
        _head("A : b"),
        _head(" folded: first"),
        _head("A: b\rc"),
        _head("A: b\0"),
        _head("Transfer-Encoding: gzip, chunked"),
        _head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    ],
)
def test_what_is_no_head_is_refused(data: bytes) -> None:
    with pytest.raises(HttpError, match="not HTTP"):
        parse_head(data)


@pytest.mark.parametrize(
    "lines", [["Content-Length: 5", "Content-Length: 6"], ["Content-Length: 5,6"]]
)
def test_two_lengths_are_a_contradiction(lines: list[str]) -> None:
    with pytest.raises(HttpError, match="contradicts itself"):
        parse_head(_head(*lines))


@pytest.mark.parametrize(
    ("line", "size"),
    [(b"0", 0), (b"1aF", 0x1AF), (b"10 ;a=b", 16), (b"", None), (b"-1", None), (b"0x1", None)],
)
def test_sizes_of_chunks(line: bytes, size: int | None) -> None:
    if size is None:
        with pytest.raises(HttpError):
            chunk_size(line)
    else:
        assert chunk_size(line) == size


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://h", "/", "h"),
        ("http://H:80/a?b=c&d#e", "/a?b=c&d", "h"),
        ("https://h:8443/a%20b/c d", "/a%20b/c%20d", "h:8443"),
        ("http://u:p@h/\xe4?\xe4", "/%C3%A4?%C3%A4", "h"),
        ("http://h/a/../b/./c", "/b/c", "h"),
        ("http://h//a/../b", "/b", "h"),
        ("http://h//other/./c", "/other/c", "h"),
        ("http://h//a//.b", "//a//.b", "h"),
        ("http://[::1]:8000/", "/", "[::1]:8000"),
        ("http://[fe80::1%25eth0]/", "/", "[fe80::1]"),
        ("http://b\xfccher.example/", "/", "xn--bcher-kva.example"),
    ],
)
def test_what_is_asked_for(url: str, target: str, host: str) -> None:
    parts, server = split_url(url)
    request = get_request(parts, server, {"A": "b"}).decode("ascii")
    assert request == f"GET {target} HTTP/1.1\r\nHost: {host}\r\nA: b\r\n\r\n"


def test_a_url_breaks_out_of_no_line() -> None:
    parts, server = split_url("http://h/a\r\nX: y\x00 HTTP/1.0")
    request = get_request(parts, server, {})
    assert request.count(b"\r\n") == 3
    assert b"\x00" not in request


@pytest.mark.parametrize("header", [{"A": "b\r\nC: d"}, {"A\r\nB": "c"}, {"A": "b\0"}, {"": "a"}])
def test_a_header_breaks_out_of_no_line(header: dict[str, str]) -> None:
    parts, server = split_url("http://h/")
    with pytest.raises(HttpError, match="cannot be sent") as caught:
        get_request(parts, server, header)
    assert caught.value.permanent


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "http:///a", "ftp://h/", "x"),
        *("http://h:port/", "http://h:99999/", "http://[::1/"),
        *("http://a b/", "http://h\\x/", f"http://{'a' * 300}/", "http://\u2100/"),
    ],
)
def test_what_no_server_can_be_asked_for(url: str) -> None:
    with pytest.raises(HttpError, match="URL is not valid") as caught:
        split_url(url)
    assert caught.value.permanent
