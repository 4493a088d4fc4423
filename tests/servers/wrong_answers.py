"""What HTTP servers do wrong: scripts for ``raw_server``, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tests.servers.raw_server import Asked, HangUp, Script, head, honest

Body = Iterator[bytes | float]


@dataclass(frozen=True, kw_only=True)
class WrongAnswers:
    """Wrong answers to requests for some files.

    Attributes:
        files: what a good server would give.
        half: where in each file they break off.
    """

    files: Mapping[str, bytes]
    half: int

    @property
    def scripts(self) -> dict[str, Script]:
        """Everything that is done wrong here."""
        return {
            "truncates": self.truncates,
            "resets": self.resets,
            "stalls": self.stalls,
            "never answers": self.never_answers,
            "drips": self.drips,
            "drips headers": self.drips_headers,
            "200 to a range": self.ignores_ranges,
            "range of others": self._resumed(shift=-1),
            "range too far": self._resumed(longer=5),
            "range of another length": self._resumed(Content_Length=100_001),
            "range of another total": self._resumed(Content_Range="bytes 100000-199999/7"),
            "range of junk": self._resumed(Content_Range="junk"),
            "length too small": self._length("small"),
            "length too large": self._length("large"),
            "length negative": self._length("negative"),
            "length in words": self._length("words"),
            "two lengths": self._length("two"),
            "no length": self.no_length,
            "no length, short": self.no_length_and_short,
            "chunked": self.chunked,
            "bad chunks": self.bad_chunks,
            "web page": _always(
                head(Content_Length=18, Content_Type="text/html") + b"<html>Sorry</html>"
            ),
            "web page without length": _always(
                head(Content_Type="text/html", Connection="close") + b"<html>Sorry</html>"
            ),
            "garbage": _always(b"\x16\x03\x01 SSH-2.0 \0\0\r\n\r\n"),
            "nothing": _always(b""),
            "endless headers": self.endless_headers,
            "endless header line": self.endless_header_line,
            "endless body": self.endless_body,
            "endless interim answers": self.endless_interim,
            "gzip": self.gzipped,
            "redirect loop": self.redirect_loop,
            "redirect to a file": _always(
                head("302 Found", Location="file:///etc/passwd", Content_Length=0)
            ),
            "redirect to junk": _always(
                head("302 Found", Location="http://[::1", Content_Length=0)
            ),
            "redirect to nowhere": _always(
                head("302 Found", Location="http://127.0.0.1:9/x?key=secret", Content_Length=0)
            ),
            "changes midway": self.changes_midway,
            "larger": self._other_size(+1),
            "smaller": self._other_size(-1),
            "empty": self._other_size(-300_000),
            "wrong bytes": self.wrong_bytes,
            "poisons the connection": self.poisons_the_connection,
            "401": _status("401 Unauthorized"),
            "403": _status("403 Forbidden"),
            "404": _status("404 Not Found"),
            "204": _status("204 No Content"),
            "304": _status("304 Not Modified"),
            "416": _status("416 Range Not Satisfiable"),
            "500": _status("500 Oops"),
            "503": _status("503 Busy"),
            "999": _status("999 What"),
        }

    def _whole(self, asked: Asked) -> tuple[bytes, int]:
        """The file asked for, and where the request begins."""
        return self.files[asked.path], asked.range[0] if asked.range else 0

    def _answer(self, asked: Asked, **headers: object) -> bytes:
        """The right headers for a request, with changes."""
        data, first = self._whole(asked)
        end = (asked.range[1] if asked.range else None) or len(data)
        ranged: dict[str, object] = {"Content_Length": end - first}
        if asked.range:
            ranged["Content_Range"] = f"bytes {first}-{end - 1}/{len(data)}"
        status = "206 Partial Content" if asked.range else "200 OK"
        return head(status, **{**ranged, **headers})

    def _up_to_half(self, asked: Asked) -> bytes:
        """The bytes asked for that lie in the file's first half."""
        data, first = self._whole(asked)
        return data[first : self.half]

    def truncates(self, asked: Asked) -> Body:
        yield self._answer(asked) + self._up_to_half(asked)
        raise HangUp

    def resets(self, asked: Asked) -> Body:
        yield self._answer(asked) + self._up_to_half(asked)
        yield 0.05
        raise HangUp(reset=True)

    def stalls(self, asked: Asked) -> Body:
        yield self._answer(asked) + self._up_to_half(asked)
        yield 60.0

    def never_answers(self, asked: Asked) -> Body:
        yield 60.0

    def drips(self, asked: Asked) -> Body:
        data, first = self._whole(asked)
        yield self._answer(asked)
        for place in range(first, len(data)):
            yield data[place : place + 1]
            yield 0.1

    def drips_headers(self, asked: Asked) -> Body:
        for byte in self._answer(asked, X_Long="x" * 5000):
            yield bytes([byte])
            yield 0.1

    def ignores_ranges(self, asked: Asked) -> Body:
        data, _ = self._whole(asked)
        yield head(Content_Length=len(data))
        yield data if asked.nth else data[: self.half]
        if not asked.nth:
            raise HangUp

    def _resumed(self, shift: int = 0, longer: int = 0, **wrong: object) -> Script:
        """Breaks off, and answers the request for the rest wrongly, with a body to match."""

        def script(asked: Asked) -> Body:
            data, first = self._whole(asked)
            if asked.range is None:
                yield self._answer(asked) + data[: self.half]
                raise HangUp
            end = (asked.range[1] or len(data)) + longer
            ranged = {
                "Content_Length": end - first,
                "Content_Range": f"bytes {first + shift}-{end - 1 + shift}/*",
            }
            yield self._answer(asked, **{**ranged, **wrong}) + data[first:] + bytes(longer)

        return script

    def _length(self, change: str) -> Script:
        def script(asked: Asked) -> Body:
            data, _ = self._whole(asked)
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

    def no_length(self, asked: Asked) -> Body:
        data, _ = self._whole(asked)
        yield head(Connection="close") + data
        raise HangUp

    def no_length_and_short(self, asked: Asked) -> Body:
        data, _ = self._whole(asked)
        yield head(Connection="close") + data[: self.half]
        raise HangUp

    def chunked(self, asked: Asked) -> Body:
        data, _ = self._whole(asked)
        yield head(Transfer_Encoding="chunked")
        for place in range(0, len(data), 30_000):
            piece = data[place : place + 30_000]
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
        yield b"0\r\n\r\n"

    def bad_chunks(self, asked: Asked) -> Body:
        yield head(Transfer_Encoding="chunked") + b"5\r\nabcde\r\nzzz\r\n"
        raise HangUp

    def endless_headers(self, asked: Asked) -> Body:
        yield b"HTTP/1.1 200 OK\r\n"
        while True:
            yield b"X-More: and more\r\n" * 100

    def endless_header_line(self, asked: Asked) -> Body:
        yield b"HTTP/1.1 200 OK\r\nX-Long: "
        while True:
            yield b"x" * 65_536

    def endless_body(self, asked: Asked) -> Body:
        data, _ = self._whole(asked)
        yield head(Connection="close") + data
        while True:
            yield bytes(65_536)

    def endless_interim(self, asked: Asked) -> Body:
        while True:
            yield b"HTTP/1.1 100 Continue\r\n\r\n" * 100

    def gzipped(self, asked: Asked) -> Body:
        yield self._answer(asked, Content_Encoding="gzip") + self._whole(asked)[0]

    def redirect_loop(self, asked: Asked) -> Body:
        yield head("302 Found", Location=f"/{asked.path}", Content_Length=0)

    def changes_midway(self, asked: Asked) -> Body:
        """Another version with another tag after a break; the manifest knows the first."""
        data, first = self._whole(asked)
        if asked.range is None:
            yield self._answer(asked, ETag='"one"') + data[: self.half]
            raise HangUp
        yield self._answer(asked, ETag='"two"') + bytes(len(data) - first)

    def _other_size(self, change: int) -> Script:
        served = {
            path: data + b"x" * change if change > 0 else data[:change]
            for path, data in self.files.items()
        }
        return honest(served)

    def wrong_bytes(self, asked: Asked) -> Body:
        data, first = self._whole(asked)
        yield self._answer(asked) + bytes(len(data) - first)

    def poisons_the_connection(self, asked: Asked) -> Body:
        """Sends an answer that nobody asked for behind the right one.

        Both at once: sent later, it could come behind the next request, where it is an answer
        like any other and its bytes are simply wrong.
        """
        data, first = self._whole(asked)
        unasked = head(Content_Length=300_000) + bytes(300_000)
        yield self._answer(asked) + data[first:] + unasked


def _always(reply: bytes) -> Script:
    def script(asked: Asked) -> Body:
        yield reply
        raise HangUp

    return script


def _status(line: str) -> Script:
    return _always(head(line, Content_Length=0))
