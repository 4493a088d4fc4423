"""The access token goes to the endpoint alone, and nothing secret is said or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import grokdist
from grokdist.errors import NoSourceError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.https import HttpsSource
from tests.cli.conftest import finish, spawn
from tests.servers.raw_server import Asked, HangUp, RawServer, Script, head, honest
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, hub, plan_for

TOKEN = "hf_never_to_be_told"
SIGNATURE = "never-to-be-told-either"
FILES = {"a": content("a", 200_000), "b": content("b", 300_000)}
BUNDLED = Path(grokdist.__file__).parent / "bundled/grok-mini"
_TROUBLES = (
    head("429 Slow", Retry_After="0", Content_Length=0),
    head("503 Busy", Content_Length=0),
    b"",
)


def _front(to: str, troubles: Sequence[bytes] = ()) -> Script:
    """An endpoint that signs download addresses of another host, after some trouble."""
    left = list(troubles)

    def script(asked: Asked) -> Iterator[bytes | float]:
        if left:
            yield left.pop()
            raise HangUp
        name = asked.path.partition("/resolve/main/")[2]
        place = f"{to}{name}?X-Signature={SIGNATURE}"
        yield head("302 Found", Location=place, Content_Length=0)

    return script


def _tokens(server: RawServer) -> set[str | None]:
    return {each.headers.get("authorization") for each in server.asked}


def test_the_token_goes_to_the_endpoint_alone(tmp_path: Path) -> None:
    with RawServer(honest(FILES)) as store, RawServer(honest(FILES)) as mirror:
        with RawServer(_front(store.url)) as front:
            sources = hub(front.url, token=TOKEN), HttpsSource(mirror.url, settings=QUICK_HTTP)
            fetch(plan_for(FILES, tmp_path, *sources), patience=HASTY)
            assert _tokens(front) <= {f"Bearer {TOKEN}"}
        assert _tokens(store) | _tokens(mirror) == {None}
    assert_complete(tmp_path, FILES)


def test_the_token_does_not_come_back_by_another_host(tmp_path: Path) -> None:
    """Away and back again: the way is a stranger's by then."""
    with RawServer(honest(FILES)) as front, RawServer(honest(FILES)) as other:

        def away(asked: Asked) -> Iterator[bytes | float]:
            if "/resolve/" in asked.path:
                name = asked.path.rpartition("/")[2]
                yield head("302 Found", Location=other.url + name, Content_Length=0)
            else:
                yield from honest(FILES)(asked)

        def back(asked: Asked) -> Iterator[bytes | float]:
            yield head("302 Found", Location=front.url + asked.path, Content_Length=0)

        front.script, other.script = away, back
        fetch(plan_for(FILES, tmp_path, hub(front.url, token=TOKEN)), patience=HASTY)
        told = [each.path for each in front.asked if "authorization" in each.headers]
        assert told
        assert all("/resolve/" in path for path in told)
        assert _tokens(other) == {None}
    assert_complete(tmp_path, FILES)


def test_a_download_address_that_is_used_again_gets_no_token(tmp_path: Path) -> None:
    def breaks_off(asked: Asked) -> Iterator[bytes | float]:
        if asked.nth == 0:
            data = FILES[asked.path]
            yield head(Content_Length=len(data)) + data[:100_000]
            raise HangUp
        yield from honest(FILES)(asked)

    with RawServer(breaks_off) as store, RawServer(_front(store.url)) as front:
        fetch(plan_for(FILES, tmp_path, hub(front.url, token=TOKEN)), patience=HASTY)
        assert len(store.asked) == 4
        assert len(front.asked) == 2
        assert _tokens(store) == {None}
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("troubles", [(), _TROUBLES])
def test_nothing_secret_is_said_or_written(
    tmp_path: Path, repository: Path, troubles: Sequence[bytes]
) -> None:
    files = {
        each.relative_to(BUNDLED).as_posix(): each.read_bytes()
        for each in BUNDLED.rglob("*")
        if each.is_file()
    }
    with RawServer(honest(files)) as store, RawServer(_front(store.url, troubles)) as front:
        child = spawn(
            *("fetch", "grok-mini", "--source", "hub", "--source", "hub:acme/grok-mini"),
            *("--dir", tmp_path / "d", "--json", "-v"),
            cwd=repository,
            HF_ENDPOINT=front.url,
            HF_TOKEN=TOKEN,
            HOME=str(tmp_path / "home"),
        )
        ended = finish(child)
        assert ended.code == 0, ended
        assert _tokens(front) == {f"Bearer {TOKEN}"}
        assert _tokens(store) == {None}
    told = [ended.out, ended.err]
    written = [each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()]
    for secret in (TOKEN, SIGNATURE):
        assert not any(secret in text for text in told)
        assert not any(secret.encode() in data for data in written)


def test_errors_hold_no_signature(tmp_path: Path) -> None:
    def refuses(asked: Asked) -> Iterator[bytes | float]:
        yield head("500 Oops", Content_Length=0)

    with RawServer(refuses) as store, RawServer(_front(store.url)) as front:
        with pytest.raises(NoSourceError) as caught:
            fetch(plan_for(FILES, tmp_path, hub(front.url, token=TOKEN)), patience=HASTY)
        store.script = _front("http://127.0.0.1:9/")  # nobody listens there
        with pytest.raises(NoSourceError) as also:
            fetch(plan_for(FILES, tmp_path, hub(front.url, token=TOKEN)), patience=HASTY)
    for error in (caught.value, also.value):
        assert SIGNATURE not in f"{error!r} {error.hint}"
        assert TOKEN not in f"{error!r} {error.hint}"
