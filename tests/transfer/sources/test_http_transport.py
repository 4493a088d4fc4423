"""Redirects, credentials and proxies."""

from __future__ import annotations

from pathlib import Path

import pytest

from grokdist.errors import NoSourceError, SourceError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.http_answer import retry_after
from grokdist.transfer.sources.http_transport import HttpTransport, without_secrets
from grokdist.transfer.sources.https import HttpsSource
from tests.servers.hub_server import Faults, HubServer
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, content, hub, plan_for

FILES = {"folder/a b+c": content("a", 100_000)}
SECRET = "hf_do_not_tell"


def test_the_token_stays_with_the_endpoint(tmp_path: Path) -> None:
    with HubServer(FILES) as cdn, HubServer(FILES) as server:
        server.faults.redirect_to = cdn.mirror
        source = hub(server.endpoint, token=SECRET)
        fetch(plan_for(FILES, tmp_path, source), patience=HASTY)
        assert [each.authorization for each in server.log] == [f"Bearer {SECRET}"]
        assert [each.authorization for each in cdn.log] == [None]
    assert_complete(tmp_path, FILES)


def test_the_token_is_in_no_message_and_no_file(tmp_path: Path) -> None:
    with (
        HubServer(FILES, faults=Faults(refuse=(403, "GatedRepo"))) as server,
        pytest.raises(NoSourceError) as caught,
    ):
        fetch(plan_for(FILES, tmp_path, hub(server.endpoint, token=SECRET)), patience=HASTY)
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"
    stored = [each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()]
    assert stored
    assert not any(SECRET.encode() in data for data in stored)


def test_the_token_is_sent_again_within_the_endpoint(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        # The mirror of the same server is the same origin.
        server.faults.redirect_to = f"{server.endpoint}/elsewhere/"
        with pytest.raises(NoSourceError):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint, token=SECRET)), patience=HASTY)
        assert {each.authorization for each in server.log} == {f"Bearer {SECRET}"}


def test_a_loop_of_redirects_ends(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        server.faults.redirect_to = server.mirror
        with pytest.raises(NoSourceError, match="more than 5 redirects"):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert len(server.log) == 6


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/", "file:///etc/", "data:x,"])
def test_other_schemes_are_not_followed(tmp_path: Path, target: str) -> None:
    with HubServer(FILES, faults=Faults(redirect_to=target)) as server:
        with pytest.raises(NoSourceError, match="expected https"):
            fetch(plan_for(FILES, tmp_path, hub(server.endpoint)), patience=HASTY)
        assert len(server.log) == 1


@pytest.mark.parametrize(
    ("here", "there", "reason"),
    [
        ("https://a.example/", "http://a.example/", "from https to"),
        ("https://a.example/", "https://127.0.0.1/", "this machine or network"),
        ("https://a.example/", "https://localhost/", "this machine or network"),
        ("http://a.example/", "http://[::1]/", "this machine or network"),
        ("http://a.example/", "http://169.254.169.254/latest", "this machine or network"),
        ("http://a.example/", "http://10.0.0.1/", "this machine or network"),
        ("http://a.example/", "http://\uff11\uff12\uff17.0.0.1/", "this machine or network"),
        ("http://a.example/", "http://127\u30020\u30020\u30021/", "this machine or network"),
        ("http://a.example/", "http://\u24dbocalhost/", "this machine or network"),
        ("http://a.example/", "http://a b/", "not a URL"),
    ],
)
def test_hops_that_are_refused(here: str, there: str, reason: str) -> None:
    transport = HttpTransport("https:x", 1, QUICK_HTTP)
    with pytest.raises(SourceError, match=reason):
        transport._target(here, there)


def test_a_proxy_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer(FILES) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint)
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("NO_PROXY", "")
        source = HttpsSource("http://mirror.invalid/mirror/", settings=QUICK_HTTP)
        fetch(plan_for(FILES, tmp_path, source), patience=HASTY)
        assert proxy.log[0].path == "http://mirror.invalid/mirror/folder/a%20b%2Bc"


def test_urls_in_messages_hold_no_secrets() -> None:
    url = "https://user:pass@cdn.example:8443/path?X-Signature=abc#x"
    assert without_secrets(url) == "https://cdn.example:8443/path"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("9" * 9, 86_400.0),
        ("9" * 400, None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 86_400.0),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": text}) == seconds
