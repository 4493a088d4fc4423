"""Settings of a session, in libtorrent's terms."""

from __future__ import annotations

import libtorrent as lt
import pytest

from grokdist.transfer.sources.torrent_session import keep_to_proxy, pack
from grokdist.transfer.sources.torrent_settings import Encryption, SwarmSettings, proxy_of

ABROAD = ("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp")


def _pack(**fields: object) -> dict[str, object]:
    return dict(pack(SwarmSettings(**fields)))  # type: ignore[arg-type]


def test_every_setting_is_known_to_libtorrent() -> None:
    # A setting whose default is nothing is not among the defaults.
    known = {*lt.default_settings(), "outgoing_interfaces"}
    assert set(_pack(max_rate=1)) <= known


def test_announces_itself_by_default() -> None:
    pack = _pack()
    assert all(pack[name] for name in ABROAD)
    assert pack["listen_interfaces"] == "0.0.0.0:6881,[::]:6881"


@pytest.mark.parametrize("interface", ["127.0.0.1", "127.8.0.1", "::1"])
def test_never_beyond_loopback(interface: str) -> None:
    pack = _pack(interface=interface, port=0, dht=True, lsd=True, upnp=True)
    assert not any(pack[name] for name in ABROAD)
    assert pack["webtorrent_stun_server"] == ""
    assert pack["outgoing_interfaces"] == interface


def test_each_switch() -> None:
    assert not _pack(dht=False)["enable_dht"]
    assert not _pack(lsd=False)["enable_lsd"]
    assert not _pack(upnp=False)["enable_upnp"]
    assert not _pack(upnp=False)["enable_natpmp"]
    assert not _pack()["enable_outgoing_utp"]
    assert _pack(utp=True)["enable_incoming_utp"]
    assert _pack(interface="::1", port=7)["listen_interfaces"] == "[::1]:7"


def test_rates_hold_for_neighbours() -> None:
    pack = _pack(max_rate=5, max_upload=6)
    assert (pack["download_rate_limit"], pack["upload_rate_limit"]) == (5, 6)
    assert pack["ignore_limits_on_local_network"] is False
    assert (_pack()["download_rate_limit"], _pack()["upload_rate_limit"]) == (0, 0)


def test_encryption() -> None:
    policies = {each: _pack(encryption=each)["out_enc_policy"] for each in Encryption}
    assert policies == {
        Encryption.OFF: int(lt.enc_policy.pe_disabled),
        Encryption.PREFER: int(lt.enc_policy.pe_enabled),
        Encryption.REQUIRE: int(lt.enc_policy.pe_forced),
    }


@pytest.mark.parametrize(
    ("proxy", "kind"),
    [
        ("socks5://127.0.0.1:9", lt.proxy_type_t.socks5),
        ("socks5h://127.0.0.1:9", lt.proxy_type_t.socks5),
        ("socks5://u:p@127.0.0.1:9", lt.proxy_type_t.socks5_pw),
        ("http://127.0.0.1:9", lt.proxy_type_t.http),
        ("http://u:p@127.0.0.1:9", lt.proxy_type_t.http_pw),
    ],
)
def test_proxy(proxy: str, kind: int) -> None:
    pack = _pack(proxy=proxy)
    assert pack["proxy_type"] == int(kind)
    assert (pack["proxy_hostname"], pack["proxy_port"]) == ("127.0.0.1", 9)
    assert pack["proxy_username"] == ("u" if "@" in proxy else "")
    assert pack["proxy_peer_connections"]


def test_what_would_go_past_a_proxy_is_off() -> None:
    pack = _pack(proxy="http://127.0.0.1:9", utp=True)
    assert not any(pack[name] for name in ABROAD)
    assert not pack["enable_outgoing_utp"]
    socks = _pack(proxy="socks5://127.0.0.1:9", utp=True)
    assert socks["enable_dht"]
    assert socks["enable_outgoing_utp"]
    assert not socks["enable_lsd"]
    # What stays on this machine needs no proxy.
    assert "proxy_type" not in _pack(proxy="http://127.0.0.1:9", interface="127.0.0.1")


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"ALL_PROXY": "socks5://h:1"}, "socks5://h:1"),
        ({"all_proxy": "http://h:1", "ALL_PROXY": "socks5://h:1"}, "http://h:1"),
        ({"ALL_PROXY": "socks://h:1"}, "socks5://h:1"),
        ({"ALL_PROXY": "socks5://h:1", "NO_PROXY": "*"}, None),
        ({"ALL_PROXY": "socks5://h:1", "no_proxy": "localhost"}, "socks5://h:1"),
    ],
)
def test_proxy_of_the_environment(environment: dict[str, str], proxy: str | None) -> None:
    assert proxy_of(environment) == proxy


@pytest.mark.parametrize(("proxy", "left"), [("http://h:1", 1), ("socks5://h:1", 2), (None, 2)])
def test_trackers_that_only_udp_reaches(proxy: str | None, left: int) -> None:
    params = lt.parse_magnet_uri(
        f"magnet:?xt=urn:btih:{'ab' * 20}&tr=udp://t:1/announce&tr=http://t:2/announce"
    )
    keep_to_proxy(params, SwarmSettings(proxy=proxy))
    assert len(params.trackers) == len(params.tracker_tiers) == left
    assert "http://t:2/announce" in params.trackers
