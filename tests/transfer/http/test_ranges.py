"""Byte ranges: what is asked for, where redirects lead again, and files that change meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator

import pytest

from grokdist.catalog.manifest import FileEntry
from grokdist.errors import SourceError
from grokdist.transfer.sources.http_stream import HttpStream
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.stop import Stop
from tests.servers.raw_server import Asked, HangUp, RawServer, Script, head, honest
from tests.transfer.models import QUICK_HTTP, content, hub

DATA = content("a", 1_000_000)
FILES = {"a": DATA}
ENTRY = FileEntry(path="a", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())


class Bucket:
    """Takes one range of the file, and can be told to take less."""

    def __init__(self, start: int, end: int) -> None:
        self.offset, self.end, self.data = start, end, b""
        self.on_append: Callable[[Bucket], None] = lambda _: None

    @property
    def remaining(self) -> int:
        return max(0, self.end - self.offset)

    def append(self, data: memoryview) -> None:
        self.data += data[: self.remaining]
        self.offset += len(data)
        self.on_append(self)

    def arrived(self, count: int) -> None:
        """Bytes are what counts here."""


_streams: list[HttpStream] = []


@pytest.fixture(autouse=True)
def close_streams() -> Iterator[None]:
    """Close the connections that a test's streams keep."""
    yield
    while _streams:
        _streams.pop().close()


def _stream() -> HttpStream:
    _streams.append(HttpStream("https:x", 4, QUICK_HTTP))
    return _streams[-1]


def _bring(stream: HttpStream, url: str, start: int, end: int) -> bytes:
    bucket = Bucket(start, end)
    stream.fetch(url, {}, ENTRY, bucket, Stop())
    return bucket.data


def _fronted(server: RawServer, *, key: Callable[[int], str]) -> Script:
    """Sends on to signed addresses, the nth of which has the nth key."""

    def script(asked: Asked) -> Iterator[bytes | float]:
        place = f"{server.url}{asked.path}?key={key(asked.nth)}"
        yield head("302 Found", Location=place, Content_Length=0)

    return script


@pytest.mark.parametrize(
    ("start", "end", "asked"),
    [
        (0, 1_000_000, None),
        (0, 400_000, (0, 400_000)),
        (300_000, 300_001, (300_000, 300_001)),
        (999_999, 1_000_000, (999_999, 1_000_000)),
    ],
)
def test_a_range_is_asked_for_unless_it_is_the_whole(
    start: int, end: int, asked: tuple[int, int] | None
) -> None:
    with RawServer(honest(FILES)) as server:
        assert _bring(_stream(), server.url + "a", start, end) == DATA[start:end]
        assert server.ranges("a") == [asked]


def test_ranges_use_one_connection_after_another() -> None:
    with RawServer(honest(FILES)) as server:
        stream = _stream()
        for start in range(0, 1_000_000, 250_000):
            assert _bring(stream, server.url + "a", start, start + 250_000)
        assert server.connections == 1


def test_a_shorter_answer_is_gone_on_with() -> None:
    def stingy(asked: Asked) -> Iterator[bytes | float]:
        assert asked.range is not None
        first = asked.range[0]
        last = min(first + 99_999, len(DATA) - 1)
        whole = f"bytes {first}-{last}/{len(DATA)}"
        yield head("206 Partial", Content_Length=last + 1 - first, Content_Range=whole)
        yield DATA[first : last + 1]

    with RawServer(stingy) as server:
        assert _bring(_stream(), server.url + "a", 100, 350_000) == DATA[100:350_000]
        assert [each and each[0] for each in server.ranges("a")] == [100, 100_100, 200_100, 300_100]


@pytest.mark.parametrize("ignores", ["the range", "its end"])
def test_a_longer_answer_is_cut(ignores: str) -> None:
    def generous(asked: Asked) -> Iterator[bytes | float]:
        first = asked.range[0] if asked.range and ignores == "its end" else 0
        whole = f"bytes {first}-{len(DATA) - 1}/{len(DATA)}"
        if ignores == "its end":
            yield head("206 Partial", Content_Length=len(DATA) - first, Content_Range=whole)
        else:
            yield head(Content_Length=len(DATA))
        yield DATA[first:]

    with RawServer(generous) as server:
        stream = _stream()
        for start, end in [(0, 100_000), (500_000, 700_000), (900_000, 1_000_000)]:
            assert _bring(stream, server.url + "a", start, end) == DATA[start:end]


def test_an_end_that_is_lowered_meanwhile_is_kept_to() -> None:
    with RawServer(honest(FILES)) as server:
        bucket = Bucket(0, len(DATA))

        def lower(bucket: Bucket) -> None:
            bucket.end = min(bucket.end, 123_456)

        bucket.on_append = lower
        _stream().fetch(server.url + "a", {}, ENTRY, bucket, Stop())
        assert bucket.data == DATA[:123_456]
        assert bucket.offset <= 123_456 + QUICK_HTTP.block


def test_a_stop_ends_a_read_that_waits() -> None:
    waiting = threading.Event()

    def stalls(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:200_000]
        waiting.set()
        yield 60.0

    with RawServer(stalls) as server:
        stop, bucket = Stop(), Bucket(0, len(DATA))
        worker = threading.Thread(
            target=_stream().fetch, args=(server.url + "a", {}, ENTRY, bucket, stop)
        )
        worker.start()
        assert waiting.wait(10)
        stop.set()
        worker.join(3)
        assert not worker.is_alive()
        assert DATA.startswith(bucket.data)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_a_stop_ends_the_wait_for_an_answer(sent: bytes) -> None:
    waiting = threading.Event()

    def silent(asked: Asked) -> Iterator[bytes | float]:
        yield sent
        waiting.set()
        yield 60.0

    with RawServer(silent) as server:
        stop = Stop()
        arguments = (server.url + "a", {}, ENTRY, Bucket(0, 10), stop)
        worker = threading.Thread(target=_stream().fetch, args=arguments)
        worker.start()
        assert waiting.wait(10)
        stop.set()
        worker.join(3)
        assert not worker.is_alive()


def test_where_redirects_led_is_asked_again_until_it_refuses() -> None:
    keys: list[str] = []

    def store(asked: Asked) -> Iterator[bytes | float]:
        key = asked.target.partition("key=")[2]
        keys.append(key)
        if key in expired:
            yield head("403 Forbidden", Content_Length=7) + b"Expired"
        else:
            yield from honest(FILES)(asked)

    expired: set[str] = set()
    with RawServer(store) as cdn, RawServer(_fronted(cdn, key=str)) as front:
        stream = _stream()
        for start in (0, 100_000, 200_000):
            assert _bring(stream, front.url + "a", start, start + 100_000)
        assert (len(front.asked), keys) == (1, ["0", "0", "0"])
        expired.add("0")
        assert _bring(stream, front.url + "a", 300_000, 400_000) == DATA[300_000:400_000]
        assert (len(front.asked), keys[3:]) == (2, ["0", "1"])
        assert _bring(stream, front.url + "a", 0, len(DATA)) == DATA
        assert cdn.ranges("a")[-1] is None


def test_a_download_host_that_went_away_is_not_asked_forever() -> None:
    stream = _stream()
    with RawServer(honest(FILES)) as other, RawServer(_fronted(other, key=str)) as front:
        with RawServer(honest(FILES)) as cdn:
            front.script = _fronted(cdn, key=str)
            assert _bring(stream, front.url + "a", 0, 100)
        front.script = _fronted(other, key=str)
        with pytest.raises(SourceError):
            _bring(stream, front.url + "a", 100, 200)
        assert _bring(stream, front.url + "a", 100, 200) == DATA[100:200]


def test_a_file_that_changes_is_noticed_before_its_bytes_are_mixed() -> None:
    with RawServer(honest(FILES, ETag='"one"')) as server:
        stream = _stream()
        assert _bring(stream, server.url + "a", 0, 100)
        server.script = honest({"a": bytes(len(DATA))}, ETag='"two"')
        bucket = Bucket(100, 200)
        with pytest.raises(SourceError, match="the file changed at the source") as caught:
            stream.fetch(server.url + "a", {}, ENTRY, bucket, Stop())
        assert (bucket.data, caught.value.permanent, caught.value.path) == (b"", False, "a")
        # Said once; then it is for the digest to decide.
        assert _bring(stream, server.url + "a", 100, 200) == bytes(100)


@pytest.mark.parametrize("header", ["ETag", "Last_Modified"])
def test_tags_that_never_stay_the_same_are_no_change(header: str) -> None:
    """Several servers behind one name, each with tags of its own."""
    count = iter(range(100))

    def script(asked: Asked) -> Iterator[bytes | float]:
        yield from honest(FILES, **{header: f'"{next(count)}"'})(asked)

    with RawServer(script) as server:
        stream, failures = _stream(), 0
        for _ in range(8):
            try:
                assert _bring(stream, server.url + "a", 0, 100) == DATA[:100]
            except SourceError:
                failures += 1
        assert failures == 1


def test_weak_tags_say_nothing() -> None:
    with RawServer(honest(FILES, ETag='W/"one"')) as server:
        stream = _stream()
        assert _bring(stream, server.url + "a", 0, 100)
        server.script = honest(FILES, ETag='W/"two"')
        assert _bring(stream, server.url + "a", 0, 100)


def test_a_commit_that_moves_is_told_once_for_each() -> None:
    path = "xai-org/grok-1/resolve/main/a"
    files = {path: DATA}
    with (
        RawServer(honest(files, X_Repo_Commit="1" * 40)) as server,
        contextlib.closing(hub(server.url, token="")) as source,
    ):

        def bring() -> bytes:
            bucket = Bucket(0, 100)
            source.fetch(ENTRY, bucket, Stop())  # type: ignore[arg-type]
            return bucket.data

        assert bring() == DATA[:100]
        server.script = honest(files, X_Repo_Commit="2" * 40)
        with pytest.raises(SourceError, match=r"moved from commit 1{40} to 2{40}"):
            bring()
        assert bring() == DATA[:100]
        server.script = honest(files, X_Repo_Commit="1" * 40)
        assert bring() == DATA[:100]
        server.script = honest(files, X_Repo_Commit="junk \x1b[31m")
        assert bring() == DATA[:100]


def test_xet_files_come_by_their_ordinary_addresses() -> None:
    path = "xai-org/grok-1/resolve/main/a"
    extra = {"X_Xet_Hash": "ab" * 32, "Link": '<https://cas.invalid/>; rel="xet-auth"'}
    with (
        RawServer(honest(files={path: DATA}, **extra)) as server,
        contextlib.closing(hub(server.url, token="")) as source,
    ):
        bucket = Bucket(0, len(DATA))
        source.fetch(ENTRY, bucket, Stop())  # type: ignore[arg-type]
        assert bucket.data == DATA
        assert [each.path for each in server.asked] == [path]


def test_a_broken_answer_tells_where_it_broke() -> None:
    def script(asked: Asked) -> Iterator[bytes | float]:
        yield head(Content_Length=len(DATA)) + DATA[:300_000]
        raise HangUp

    with RawServer(script) as server:
        bucket = Bucket(0, len(DATA))
        with pytest.raises(SourceError, match="ended at 300000 of 1000000 bytes"):
            _stream().fetch(server.url + "a", {}, ENTRY, bucket, Stop())
        assert bucket.data == DATA[:300_000]


def test_a_mirror_is_asked_under_its_base() -> None:
    with (
        RawServer(honest({"base/a": DATA})) as server,
        contextlib.closing(HttpsSource(server.url + "base", settings=QUICK_HTTP)) as source,
    ):
        bucket = Bucket(0, 10)
        source.fetch(ENTRY, bucket, Stop())  # type: ignore[arg-type]
        assert bucket.data == DATA[:10]
