"""Keys and names: who is let in."""

from __future__ import annotations

import pytest

from grokdist_runtime.errors import AddressError, ConfigError
from grokdist_runtime.server.guard import ApiKeys, names_at
from grokdist_runtime.server.http_server import bind
from tests.runtime.server.conftest import Serving

KEY = "correct-horse-battery"
OTHER = "another-key-0123456789"


def test_only_those_who_know_a_key_are_let_in(serving: Serving) -> None:
    with serving(keys=(KEY, OTHER)) as running:
        for key in (KEY, OTHER):
            with running.client(key) as client:
                assert len(list(client.models.list())) == 1
        for header in ("", KEY, f"Basic {KEY}", f"Bearer {KEY}x", "Bearer ", "Bearer \xff"):
            answered = running.ask("/v1/models", headers={"Authorization": header})
            assert (answered.status, answered.error["code"]) == (401, "invalid_api_key")
            assert answered.headers["www-authenticate"] == "Bearer"
            assert KEY.encode() not in answered.body
        for path in ("/metrics", "/provenance", "/v1/completions", "/v1/nothing"):
            assert running.ask(path).status == 401
        assert running.ask("/health").json == {"status": "ok"}
        assert running.ask("/").status == 200


@pytest.mark.parametrize(
    "key", ["", "short", "with a space in it", "ключ-ключ-ключ-ключ", "x" * 513]
)
def test_a_key_that_is_none_is_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigError, match="expected 16 to 512 without spaces") as caught:
        ApiKeys([key])
    assert not key or key not in str(caught.value)


def test_a_page_of_another_site_cannot_lead_its_name_here(serving: Serving) -> None:
    with serving(names=names_at("127.0.0.1")) as running:
        for name in ("localhost", f"127.0.0.1:{running.port}", "LOCALHOST:1", "[::1]:80"):
            assert running.ask("/health", headers={"Host": name}).status == 200
        for name in ("evil.example", f"evil.example:{running.port}", "localhost.evil", "::1", ""):
            answered = running.ask("/v1/models", headers={"Host": name})
            assert (answered.status, answered.error["code"]) == (403, "wrong_host")


def test_a_port_that_is_taken_is_said() -> None:
    with bind("127.0.0.1", 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        with pytest.raises(AddressError, match=f"cannot listen at 127.0.0.1 port {port}"):
            bind("127.0.0.1", port)
    with pytest.raises(AddressError, match=r"cannot listen at no\.such\.host\.invalid"):
        bind("no.such.host.invalid", 0)
