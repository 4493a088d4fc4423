"""What HTTP servers do wrong, one fault a row, over real sockets and through the real engine.

Each fault is met twice. Beside an honest server it costs nothing but time: every file completes.
Alone it ends the fetch with an error that names it, or is overcome; and one more run against the
healed server completes with every byte right, whatever the first one left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from grokdist.errors import DigestMismatchError, GrokdistError, NoSourceError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.https import HttpsSource
from tests.servers.raw_server import Asked, HangUp, RawServer, Script, head, honest
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, plan_for

FILES = {"a": content("a", 200_000), "b": content("b", 300_000)}
PATIENCE = replace(HASTY, stall=0.5, idle=0.2)
HALF = 100_000

GOOD = honest(FILES)
Body = Iterator[bytes | float]


def _whole(asked: Asked) -> tuple[bytes, int]:
    """The file asked for, and where the request begins."""
    return FILES[asked.path], asked.range[0] if asked.range else 0


def _answer(asked: Asked, **headers: object) -> bytes:
    """The right headers for a request, with changes."""
    data, first = _whole(asked)
    end = (asked.range[1] if asked.range else None) or len(data)
    ranged: dict[str, object] = {"Content_Length": end - first}
    if asked.range:
        ranged["Content_Range"] = f"bytes {first}-{end - 1}/{len(data)}"
    status = "206 Partial Content" if asked.range else "200 OK"
    return head(status, **{**ranged, **headers})


def _up_to_half(asked: Asked) -> bytes:
    """The bytes asked for that lie in the file's first half."""
    data, first = _whole(asked)
    return data[first:HALF]


def truncates(asked: Asked) -> Body:
    yield _answer(asked) + _up_to_half(asked)
    raise HangUp


def resets(asked: Asked) -> Body:
    yield _answer(asked) + _up_to_half(asked)
    yield 0.05
    raise HangUp(reset=True)


def stalls(asked: Asked) -> Body:
    yield _answer(asked) + _up_to_half(asked)
    yield 60.0


def never_answers(asked: Asked) -> Body:
    yield 60.0


def drips(asked: Asked) -> Body:
    data, first = _whole(asked)
    yield _answer(asked)
    for place in range(first, len(data)):
        yield data[place : place + 1]
        yield 0.1


def drips_headers(asked: Asked) -> Body:
    for byte in _answer(asked, X_Long="x" * 5000):
        yield bytes([byte])
        yield 0.1


def ignores_ranges(asked: Asked) -> Body:
    data, _ = _whole(asked)
    yield head(Content_Length=len(data))
    yield data if asked.nth else data[:HALF]
    if not asked.nth:
        raise HangUp


def _resumed(shift: int = 0, longer: int = 0, **wrong: object) -> Script:
    """Breaks off, and answers the request for the rest wrongly, with a body to match."""

    def script(asked: Asked) -> Body:
        data, first = _whole(asked)
        if asked.range is None:
            yield _answer(asked) + data[:HALF]
            raise HangUp
        end = (asked.range[1] or len(data)) + longer
        ranged = {
            "Content_Length": end - first,
            "Content_Range": f"bytes {first + shift}-{end - 1 + shift}/*",
        }
        yield _answer(asked, **{**ranged, **wrong}) + data[first:] + bytes(longer)

    return script


def _always(reply: bytes) -> Script:
    def script(asked: Asked) -> Body:
        yield reply
        raise HangUp

    return script


def _length(change: str) -> Script:
    def script(asked: Asked) -> Body:
        data, _ = _whole(asked)
        lengths = {
            "small": len(data) - 10,
            "large": len(data) + 10,
            "negative": -5,
            "words": "many",
            "two": "5, 6",
        }
        yield head(Content_Length=lengths[change]) + data
        raise HangUp

    return script


def no_length(asked: Asked) -> Body:
    data, _ = _whole(asked)
    yield head(Connection="close") + data
    raise HangUp


def no_length_and_short(asked: Asked) -> Body:
    data, _ = _whole(asked)
    yield head(Connection="close") + data[:HALF]
    raise HangUp


def chunked(asked: Asked) -> Body:
    data, _ = _whole(asked)
    yield head(Transfer_Encoding="chunked")
    for place in range(0, len(data), 30_000):
        piece = data[place : place + 30_000]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def bad_chunks(asked: Asked) -> Body:
    yield head(Transfer_Encoding="chunked") + b"5\r\nabcde\r\nzzz\r\n"
    raise HangUp


def endless_headers(asked: Asked) -> Body:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-More: and more\r\n" * 100


def endless_header_line(asked: Asked) -> Body:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    while True:
        yield b"x" * 65_536


def endless_body(asked: Asked) -> Body:
    data, _ = _whole(asked)
    yield head(Connection="close") + data
    while True:
        yield bytes(65_536)


def endless_interim(asked: Asked) -> Body:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100


def gzipped(asked: Asked) -> Body:
    yield _answer(asked, Content_Encoding="gzip") + _whole(asked)[0]


def redirect_loop(asked: Asked) -> Body:
    yield head("302 Found", Location=f"/{asked.path}", Content_Length=0)


def changes_midway(asked: Asked) -> Body:
    """Another version with another tag after a broken connection; the manifest knows the first."""
    data, first = _whole(asked)
    if asked.range is None:
        yield _answer(asked, ETag='"one"') + data[:HALF]
        raise HangUp
    yield _answer(asked, ETag='"two"') + bytes(len(data) - first)


def _other_size(change: int) -> Script:
    served = {
        path: data + b"x" * change if change > 0 else data[:change] for path, data in FILES.items()
    }
    return honest(served)


def wrong_bytes(asked: Asked) -> Body:
    data, first = _whole(asked)
    yield _answer(asked) + bytes(len(data) - first)


def poisons_the_connection(asked: Asked) -> Body:
    """Sends an answer that nobody asked for behind the right one."""
    data, first = _whole(asked)
    yield _answer(asked) + data[first:]
    yield head(Content_Length=300_000) + bytes(300_000)


def _status(line: str) -> Script:
    return _always(head(line, Content_Length=0))


@dataclass(frozen=True)
class Fault:
    """One row: a script, and how a fetch from it alone ends (None: it completes)."""

    script: Script
    error: type[GrokdistError] | None = None
    says: str = ""


ROWS: dict[str, Fault] = {
    "truncates": Fault(truncates, NoSourceError, "at 100000 of"),
    "resets": Fault(resets, NoSourceError, "the connection broke at 100000 of|at 100000 of"),
    "stalls": Fault(stalls, NoSourceError, "nothing arrives"),
    "never answers": Fault(never_answers, NoSourceError, "nothing arrives"),
    "drips": Fault(drips, NoSourceError, "nothing arrives"),
    "drips headers": Fault(drips_headers, NoSourceError, "nothing arrives"),
    "200 to a range": Fault(ignores_ranges),
    "range of others": Fault(
        _resumed(shift=-1), NoSourceError, "answered bytes 99999-.*of a request for 100000-"
    ),
    "range too far": Fault(_resumed(longer=5), NoSourceError, "answered bytes 100000-200004 of"),
    "range of another length": Fault(
        _resumed(Content_Length=100_001), NoSourceError, "answered bytes 100000-199999 of"
    ),
    "range of another total": Fault(
        _resumed(Content_Range="bytes 100000-199999/7"), DigestMismatchError, "got 7 bytes"
    ),
    "range of junk": Fault(
        _resumed(Content_Range="junk"), NoSourceError, r"without saying which \('junk'\)"
    ),
    "length too small": Fault(_length("small"), DigestMismatchError, "got 199990 bytes"),
    "length too large": Fault(_length("large"), DigestMismatchError, "got 200010 bytes"),
    "length negative": Fault(_length("negative"), NoSourceError, "sent the length '-5'"),
    "length in words": Fault(_length("words"), NoSourceError, "sent the length 'many'"),
    "two lengths": Fault(_length("two"), NoSourceError, "the answer contradicts itself"),
    "no length": Fault(no_length),
    "no length, short": Fault(no_length_and_short, NoSourceError, "ended at 100000 of"),
    "chunked": Fault(chunked),
    "bad chunks": Fault(bad_chunks, NoSourceError, "the connection broke at"),
    "web page": Fault(
        _always(head(Content_Length=18, Content_Type="text/html") + b"<html>Sorry</html>"),
        DigestMismatchError,
        "got 18 bytes",
    ),
    "web page without length": Fault(
        _always(head(Content_Type="text/html", Connection="close") + b"<html>Sorry</html>"),
        NoSourceError,
        "a web page in place of the file",
    ),
    "garbage": Fault(_always(b"\x16\x03\x01 SSH-2.0 \0\0\r\n\r\n"), NoSourceError, "not HTTP"),
    "nothing": Fault(_always(b""), NoSourceError, "the connection broke"),
    "endless headers": Fault(endless_headers, NoSourceError, "the connection broke"),
    "endless header line": Fault(endless_header_line, NoSourceError, "the connection broke"),
    "endless body": Fault(endless_body),
    "endless interim answers": Fault(endless_interim, NoSourceError, "nothing arrives|broke"),
    "gzip": Fault(gzipped, NoSourceError, "encoded as 'gzip'"),
    "redirect loop": Fault(redirect_loop, NoSourceError, "more than 5 redirects"),
    "redirect to a file": Fault(
        _always(head("302 Found", Location="file:///etc/passwd", Content_Length=0)),
        NoSourceError,
        "redirected to file:, expected https",
    ),
    "redirect to junk": Fault(
        _always(head("302 Found", Location="http://[::1", Content_Length=0)),
        NoSourceError,
        "redirected to what is not a URL",
    ),
    "redirect to nowhere": Fault(
        _always(head("302 Found", Location="http://127.0.0.1:9/x?key=secret", Content_Length=0)),
        NoSourceError,
        r"127\.0\.0\.1:9/x: connection refused",
    ),
    "changes midway": Fault(changes_midway, DigestMismatchError, "is not what the manifest names"),
    "larger": Fault(_other_size(+1), DigestMismatchError, "got 200001 bytes"),
    "smaller": Fault(_other_size(-1), DigestMismatchError, "got 199999 bytes"),
    "empty": Fault(_other_size(-300_000), DigestMismatchError, "got 0 bytes"),
    "wrong bytes": Fault(wrong_bytes, DigestMismatchError, "is not what the manifest names"),
    "poisons the connection": Fault(poisons_the_connection),
    "401": Fault(_status("401 Unauthorized"), NoSourceError, "asks for a login"),
    "403": Fault(_status("403 Forbidden"), NoSourceError, "forbids it"),
    "404": Fault(_status("404 Not Found"), NoSourceError, "has not got it"),
    "204": Fault(_status("204 No Content"), NoSourceError, "HTTP 204"),
    "304": Fault(_status("304 Not Modified"), NoSourceError, "HTTP 304"),
    "416": Fault(_status("416 Range Not Satisfiable"), NoSourceError, "fewer bytes"),
    "500": Fault(_status("500 Oops"), NoSourceError, "HTTP 500"),
    "503": Fault(_status("503 Busy"), NoSourceError, "HTTP 503"),
    "999": Fault(_status("999 What"), NoSourceError, "HTTP 999"),
}


def _mirror(server: RawServer) -> HttpsSource:
    return HttpsSource(server.url, slots=2, settings=QUICK_HTTP)


@pytest.mark.parametrize("name", ROWS)
def test_beside_an_honest_server_nothing_is_lost(tmp_path: Path, name: str) -> None:
    with RawServer(ROWS[name].script) as bad, RawServer(GOOD) as good:
        fetch(plan_for(FILES, tmp_path, _mirror(bad), _mirror(good)), patience=PATIENCE)
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("name", ROWS)
def test_alone_it_is_named_and_a_healed_server_completes(tmp_path: Path, name: str) -> None:
    fault = ROWS[name]
    with RawServer(fault.script) as server:
        if fault.error is None:
            fetch(plan_for(FILES, tmp_path, _mirror(server)), patience=PATIENCE)
        else:
            with pytest.raises(fault.error, match=fault.says) as caught:
                fetch(plan_for(FILES, tmp_path, _mirror(server)), patience=PATIENCE)
            assert "secret" not in str(caught.value)
            server.script = GOOD
            fetch(plan_for(FILES, tmp_path, _mirror(server)), patience=PATIENCE)
    assert_complete(tmp_path, FILES)
