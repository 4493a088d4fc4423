"""Proxies that the environment names, TLS through them, and IPv6."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from grokdist.errors import NoSourceError
from grokdist.transfer.engine import fetch
from grokdist.transfer.sources.https import HttpsSource
from tests.conftest import needs_ipv6
from tests.servers.certificates import make_certificate, server_context
from tests.servers.proxy_server import HttpProxy, SocksProxy
from tests.servers.raw_server import RawServer, honest
from tests.transfer.http.test_faults import FILES, PATIENCE, ROWS, SCRIPTS, Fault
from tests.transfer.models import HASTY, QUICK_HTTP, assert_complete, plan_for

LOGIN = "me:p@ss/word"
SPELT = "me:p%40ss%2Fword"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy but what a test names."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def _fetch(directory: Path, base: str) -> None:
    source = HttpsSource(base, slots=2, settings=QUICK_HTTP)
    fetch(plan_for(FILES, directory, source), patience=HASTY)


@pytest.mark.parametrize("login", [None, LOGIN])
def test_plain_requests_go_through_an_http_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: str | None
) -> None:
    with RawServer(honest(FILES)) as server, HttpProxy(server.port, login) as proxy:
        user = f"{SPELT}@" if login else ""
        monkeypatch.setenv("http_proxy", f"http://{user}{proxy.address}")
        _fetch(tmp_path, "http://mirror.test/sub/../")
        assert proxy.asked[0].startswith("GET http://mirror.test/")
        assert not any("proxy-authorization" in each.headers for each in server.asked)
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize(
    "name",
    ["truncates", "resets", "stalls", "two lengths", "chunked", "bad chunks", "endless body"],
)
def test_wrong_answers_are_met_behind_a_proxy_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fault = ROWS[name]
    with RawServer(SCRIPTS[name]) as server, HttpProxy(server.port) as proxy:
        monkeypatch.setenv("http_proxy", proxy.address)
        for _ in range(2):
            source = HttpsSource("http://mirror.test/", slots=fault.slots, settings=QUICK_HTTP)
            ending = pytest.raises(fault.error) if fault.error else contextlib.nullcontext()
            with ending:
                fetch(plan_for(FILES, tmp_path, source), patience=PATIENCE)
                break
            server.script = honest(FILES)
            fault = Fault()
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("login", [None, LOGIN])
def test_tls_goes_through_a_tunnel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path, login: str | None
) -> None:
    with (
        RawServer(honest(FILES), tls=server_context(pem)) as server,
        HttpProxy(server.port, login) as proxy,
    ):
        user = f"{SPELT}@" if login else ""
        monkeypatch.setenv("HTTPS_PROXY", f"{user}{proxy.address}")
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        _fetch(tmp_path, "https://mirror.test/")
        assert proxy.asked[0].startswith("CONNECT mirror.test:443")
        assert not any("proxy-authorization" in each.headers for each in server.asked)
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("login", [None, LOGIN])
@pytest.mark.parametrize("tls", [False, True])
def test_socks_resolves_names_at_the_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path, login: str | None, tls: bool
) -> None:
    context = server_context(pem) if tls else None
    with (
        RawServer(honest(FILES), tls=context) as server,
        SocksProxy(server.port, login) as proxy,
    ):
        user = f"{SPELT}@" if login else ""
        monkeypatch.setenv("ALL_PROXY", f"socks5h://{user}{proxy.address}")
        monkeypatch.setenv("SSL_CERT_FILE", str(pem))
        _fetch(tmp_path, f"{'https' if tls else 'http'}://mirror.test:8000/")
        assert set(proxy.asked) == {"mirror.test:8000"}
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("scheme", ["socks", "socks5"])
def test_socks_with_names_resolved_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with RawServer(honest(FILES)) as server, SocksProxy(server.port) as proxy:
        monkeypatch.setenv("http_proxy", f"{scheme}://{proxy.address}")
        _fetch(tmp_path, "http://127.0.0.9:8000/")
        assert set(proxy.asked) == {"127.0.0.9:8000"}
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize(
    "no_proxy",
    ["*", "127.0.0.1", "example.org, 127.0.0.1", "127.0.0.0/8", "::1/128,127.0.0.1/32", "{port}"],
)
def test_no_proxy_is_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    with RawServer(honest(FILES)) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", no_proxy.format(port=f"127.0.0.1:{server.port}"))
        _fetch(tmp_path, server.url)
    assert_complete(tmp_path, FILES)


@pytest.mark.parametrize("no_proxy", ["", "10.0.0.0/8", "example.org", "127.0.0.1:1", "1/2/3"])
def test_no_proxy_names_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    with RawServer(honest(FILES)) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.setenv("no_proxy", no_proxy)
        with pytest.raises(NoSourceError):
            _fetch(tmp_path, server.url)
        assert server.asked == []


@pytest.mark.parametrize("proxy", [HttpProxy, SocksProxy])
def test_a_wrong_login_is_told_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: type[HttpProxy] | type[SocksProxy]
) -> None:
    with RawServer(honest(FILES)) as server, proxy(server.port, LOGIN) as running:
        scheme = "http" if proxy is HttpProxy else "socks5h"
        monkeypatch.setenv("http_proxy", f"{scheme}://me:wrong-secret@{running.address}")
        with pytest.raises(NoSourceError) as caught:
            _fetch(tmp_path, "http://mirror.test/")
        assert "wrong-secret" not in str(caught.value)
        assert server.asked == []


@pytest.mark.parametrize("proxy", ["gopher://user:wrong-secret@h:1", "socks9://h:1", "http://"])
def test_what_is_no_proxy_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(NoSourceError, match="proxy") as caught:
        _fetch(tmp_path, "http://mirror.test/")
    assert "wrong-secret" not in str(caught.value)


def test_tls_without_a_known_authority_is_refused(tmp_path: Path, pem: Path) -> None:
    with (
        RawServer(honest(FILES), tls=server_context(pem)) as server,
        pytest.raises(NoSourceError, match="TLS certificate or handshake"),
    ):
        _fetch(tmp_path, server.url)


def test_tls_for_another_name_is_refused(
    tmp_path: Path, pem: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    with (
        RawServer(honest(FILES), tls=server_context(pem)) as server,
        HttpProxy(server.port) as proxy,
    ):
        monkeypatch.setenv("https_proxy", proxy.address)
        with pytest.raises(NoSourceError, match="TLS certificate or handshake"):
            _fetch(tmp_path, "https://other.test/")
        assert server.asked == []


@needs_ipv6
@pytest.mark.parametrize("tls", [False, True])
def test_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pem: Path, tls: bool) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    context = server_context(pem) if tls else None
    with RawServer(honest(FILES), family=socket.AF_INET6, tls=context) as server:
        _fetch(tmp_path, server.url)
        assert "[::1]" in server.url
    assert_complete(tmp_path, FILES)


@needs_ipv6
def test_no_proxy_names_an_ipv6_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "::1")
    with RawServer(honest(FILES), family=socket.AF_INET6) as server:
        _fetch(tmp_path, server.url)
    assert_complete(tmp_path, FILES)
