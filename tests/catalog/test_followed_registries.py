"""Following a registry on a real server, and every way in which it, or its server, may lie."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import (  # type: ignore[attr-defined]  # no __all__
    CryptoSigner,
    Signature,
)
from tuf.api.metadata import Metadata

from grokdist.catalog.followed_registries import FollowedRegistries
from grokdist.catalog.registry_draft import draft_keys
from grokdist.catalog.tuf_roles import signed, written
from grokdist.errors import (
    GrokdistError,
    ManifestError,
    NoSourceError,
    TrustError,
    UnknownModelError,
    UsageError,
)
from grokdist.transfer.registry_fetcher import FetchBounds
from tests.catalog.team import Follower, RegistryServer, Team, following, manifest, once
from tests.servers.raw_server import Asked, head

PAST = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    team = Team(tmp_path / "published")
    team.begin("tiny")
    return team


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "follower"


@pytest.fixture
def pair(team: Team, home: Path) -> Iterator[tuple[Follower, RegistryServer]]:
    with following(team.folder, home) as pair:
        yield pair


@pytest.fixture
def follower(pair: tuple[Follower, RegistryServer]) -> Follower:
    return pair[0]


@pytest.fixture
def server(pair: tuple[Follower, RegistryServer]) -> RegistryServer:
    return pair[1]


def refused(
    follower: Follower, sentence: str, *, kind: type[GrokdistError] = TrustError
) -> GrokdistError:
    """An update fails with this sentence and a hint, and what was cached stays."""
    before = follower.models()
    with pytest.raises(kind, match=sentence) as caught:
        follower.update()
    assert caught.value.hint
    assert follower.models() == before
    return caught.value


def test_follow_and_update(team: Team, follower: Follower) -> None:
    assert follower.models() == ("tiny",)
    team.add(manifest("second"), manifest("tiny", title="Another"))
    update = follower.update()
    assert (update.added, update.changed, update.removed) == (("second",), ("tiny",), ())
    trusted = follower.registries.get("acme").registry().load("tiny")
    assert trusted.manifest.title == "Another"
    assert trusted.signed_by.registry == "acme"
    assert trusted.signed_by.threshold == 2
    assert len(trusted.signed_by.keyids) == 2
    team.add(remove=["second"])
    assert follower.update().removed == ("second",)
    assert follower.models() == ("tiny",)
    assert follower.update().added == ()


def test_the_state_is_the_user_s_alone(follower: Follower) -> None:
    for folder in (follower.registries.folder, follower.registries.get("acme").folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize("role", ["root", "targets", "online"])
def test_key_rotation_is_survived(role: str, team: Team, follower: Follower) -> None:
    team.rotate(role)
    follower.update()
    team.add(manifest("after"))
    assert follower.update().added == ("after",)


def test_several_rotations_missed_are_caught_up_with(team: Team, follower: Follower) -> None:
    for index in range(3):
        team.rotate("root", index=index)
        team.rotate("targets", index=index)
    team.rotate("online")
    team.add(manifest("after"))
    assert follower.update().added == ("after",)
    assert follower.registries.get("acme").registry().verify().root_version == 8


def test_a_root_of_any_version_can_be_pinned(team: Team, home: Path) -> None:
    team.rotate("root")
    team.rotate("targets")
    with RegistryServer(team.folder) as server:
        follower = Follower(home, server)
        follower.add((team.folder / "2.root.json").read_bytes())
        team.rotate("root")
        follower.update()
        assert follower.models() == ("tiny",)
        assert not (home / "registries/acme/generations/1/1.root.json").exists()


def test_a_rollback_of_the_timestamp_is_refused(team: Team, follower: Follower) -> None:
    old = (team.folder / "timestamp.json").read_bytes()
    team.add(manifest("second"))
    follower.update()
    (team.folder / "timestamp.json").write_bytes(old)
    error = refused(follower, r"timestamp\.json is not of the version that it must be.*rollback")
    assert "ask the publisher" in str(error.hint)


def test_a_rollback_of_the_snapshot_is_refused(team: Team, follower: Follower) -> None:
    team.add(manifest("second"))
    team.publish()
    follower.update()
    team.forge(ahead=1, snapshot_ahead=-1)
    refused(follower, "rollback")


def test_a_rollback_of_the_listing_is_refused(team: Team, follower: Follower) -> None:
    team.add(manifest("second"))
    follower.update()
    team.forge(targets_version=1)
    refused(follower, "rollback")


def test_a_rollback_is_refused_though_the_update_between_came_to_no_end(
    team: Team, follower: Follower, server: RegistryServer
) -> None:
    old = (team.folder / "timestamp.json").read_bytes()
    team.add(manifest("second"))
    server.instead["2.targets.json"] = once(head("503 Busy", Content_Length=0))
    refused(follower, "answers 503", kind=NoSourceError)
    (team.folder / "timestamp.json").write_bytes(old)
    refused(follower, "rollback")


def test_a_frozen_timestamp_is_refused_once_it_is_past(tmp_path: Path, home: Path) -> None:
    for seconds in (2, 4, 8, 16, 32):  # long enough to be followed on a busy machine
        team = Team(tmp_path / f"published-{seconds}", timestamp=seconds)
        team.begin("tiny")
        with RegistryServer(team.folder) as server:
            follower = Follower(home, server)
            try:
                follower.add()
            except TrustError:
                continue
            registry = follower.registries.get("acme").registry()
            while not registry.load("tiny").signed_by.expired:
                time.sleep(0.1)  # the server says the same for ever
            error = refused(follower, r"timestamp\.json is expired.*freeze")
            assert "clock" in str(error.hint)
            with pytest.raises(TrustError, match=r"timestamp\.json expired on") as caught:
                registry.load("tiny", strict_freshness=True)
            assert caught.value.hint == "grokdist registry update acme"
            return
    pytest.fail("no registry could be followed before its timestamp was past")


def test_an_expired_timestamp_is_refused(team: Team, follower: Follower) -> None:
    team.forge(expires=PAST)
    refused(follower, r"timestamp\.json is expired, by this machine's clock")


def test_metadata_of_the_far_future_is_taken(team: Team, follower: Follower) -> None:
    team.forge(expires=datetime(9999, 12, 31, tzinfo=UTC), ahead=2**40)
    follower.update()


def test_a_date_that_is_none_is_refused(team: Team, follower: Follower) -> None:
    path = team.folder / "timestamp.json"
    tree = json.loads(path.read_bytes())
    tree["signed"]["expires"] = "10000-01-01T00:00:00Z"
    path.write_text(json.dumps(tree))
    refused(follower, r"timestamp\.json is not TUF metadata")


def test_a_fast_forward_ends_with_the_stolen_key(team: Team, follower: Follower) -> None:
    team.forge(ahead=2**40)
    follower.update()
    team.rotate("online")
    honest = team.keys["online"]
    team.forge(ahead=1 - 2**40, online=honest)  # the versions that the team would go on with
    follower.update()
    assert follower.registries.get("acme").registry().verify().root_version == 2


def test_a_clock_set_back_does_not_make_old_metadata_fresh(team: Team, follower: Follower) -> None:
    # As if the clock had shown a later day at the last update: to today's it is behind.
    state = follower.registries.get("acme").folder / "registry.json"
    later = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    state.write_text(json.dumps(json.loads(state.read_text()) | {"checked": later}))
    assert follower.registries.get("acme").registry().load("tiny").signed_by.expired
    refused(follower, r"timestamp\.json expired on")
    team.forge(expires=datetime.now(UTC).replace(microsecond=0) + timedelta(days=90))
    (note,) = follower.update().notes
    assert "clock" in note


def test_a_clock_far_ahead_is_named(tmp_path: Path, home: Path) -> None:
    # To a clock that is years ahead, everything is as this is to ours.
    team = Team(tmp_path / "published", now=PAST - timedelta(days=4000), timestamp=86_400)
    for role in ("root", "targets"):
        team.sign(role)
    with pytest.raises(TrustError, match="expired"):
        team.publish()
    team.publish(now=PAST - timedelta(days=4000))
    with RegistryServer(team.folder) as server, pytest.raises(TrustError) as caught:
        Follower(home, server).add()
    assert "the clock is wrong" in str(caught.value)
    assert "check the clock" in str(caught.value.hint)


def test_mix_and_match_is_refused(team: Team, follower: Follower) -> None:
    old = (team.folder / "1.targets.json").read_bytes()
    team.add(manifest("second"))
    (team.folder / "2.targets.json").write_bytes(old)
    refused(follower, r"2\.targets\.json is not the file that was signed")


def test_a_snapshot_of_another_publication_is_refused(team: Team, follower: Follower) -> None:
    team.add(manifest("second"))
    shutil.copy(team.folder / "1.snapshot.json", team.folder / "2.snapshot.json")
    refused(follower, r"2\.snapshot\.json is not the file that was signed")


def endless(_: Asked) -> Iterator[bytes | float]:
    yield head("200 OK")
    while True:
        yield b" " * (1 << 16)


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "2.snapshot.json"])
def test_endless_data_is_cut_off(
    name: str, team: Team, follower: Follower, server: RegistryServer
) -> None:
    team.add(manifest("second"))
    server.instead[name] = endless
    refused(follower, f"{name} does not end where it must")


def test_a_connection_ends_though_its_error_is_kept(
    team: Team, follower: Follower, server: RegistryServer
) -> None:
    ended = threading.Event()

    def noticing(asked: Asked) -> Iterator[bytes | float]:
        try:
            yield from endless(asked)
        finally:
            ended.set()

    team.add(manifest("second"))
    server.instead["timestamp.json"] = noticing
    error = refused(follower, "does not end where it must")
    assert ended.wait(30)
    assert error.__cause__ is not None  # with the frames that read the answer


def test_an_endless_target_is_cut_off(
    team: Team, follower: Follower, server: RegistryServer
) -> None:
    team.add(manifest("second"))
    (target,) = team.folder.glob("models/*.second.json")
    server.instead[f"models/{target.name}"] = endless
    refused(follower, r"second\.json does not end where it must")


def test_a_signed_length_lifts_no_bound(team: Team, home: Path) -> None:
    """A thief of the online key may sign any length for the listing."""
    with RegistryServer(team.folder) as server:
        follower = Follower(home, server, FetchBounds(tries=1, max_bytes=1 << 20))
        follower.add()
        targets = (team.folder / "1.targets.json").read_bytes()
        team.forge()
        path = team.folder / f"{team.version('snapshot')}.snapshot.json"
        snapshot = Metadata.from_file(str(path))
        snapshot.signed.meta["targets.json"].length = 1 << 60
        snapshot.signed.meta["targets.json"].version = 2
        snapshot.signed.meta["targets.json"].hashes = None
        online = team.keys["online"]
        path.write_bytes(signed(snapshot.signed, online))
        timestamp = team.read("timestamp.json")
        timestamp.signed.snapshot_meta.length = None
        timestamp.signed.snapshot_meta.hashes = None
        (team.folder / "timestamp.json").write_bytes(signed(timestamp.signed, online))
        server.instead["2.targets.json"] = endless
        assert len(targets) < 1 << 20
        refused(follower, r"2\.targets\.json does not end where it must.*1048576")


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_slow_trickle_ends(where: str, team: Team, home: Path) -> None:
    data = (team.folder / "timestamp.json").read_bytes()

    def trickle(_: Asked) -> Iterator[bytes | float]:
        if where == "body":
            yield head(Content_Length=len(data))
        for byte in data if where == "body" else head(Content_Length=len(data), X="y" * 999):
            yield bytes([byte])
            yield 0.05

    with following(team.folder, home) as (follower, server):
        server.instead["timestamp.json"] = trickle
        follower.bounds = FetchBounds(tries=1, deadline=0.4)
        refused(follower, r"timestamp\.json came too slowly", kind=NoSourceError)


def test_a_stolen_online_key_cannot_add_a_manifest(team: Team, follower: Follower) -> None:
    forged = team.unsigned_listing("evil")
    for signer in team.keys["online"]:
        forged.sign(signer, append=True)
    team.forge(targets=written(forged), targets_version=2)
    error = refused(follower, r"2\.targets\.json is not signed as the trusted root asks.* 0/2 keys")
    assert "fingerprint" in str(error.hint)
    assert "evil" not in follower.models()


def test_a_stolen_online_key_cannot_change_a_manifest(
    team: Team, follower: Follower, server: RegistryServer
) -> None:
    forged = manifest("tiny", title="Evil")
    (target,) = team.folder.glob("models/*.tiny.json")
    shutil.rmtree(follower.registries.get("acme").folder / "generations/1/models")
    server.instead[f"models/{target.name}"] = once(head(Content_Length=len(forged)), forged)
    with pytest.raises(TrustError, match=r"tiny\.json is not the file that was signed"):
        follower.update()


def test_one_of_two_signatures_is_refused(team: Team, follower: Follower) -> None:
    forged = team.unsigned_listing("evil")
    forged.sign(team.keys["targets"][0], append=True)
    team.forge(targets=written(forged), targets_version=2)
    refused(follower, r"1/2 keys")


def test_one_key_twice_is_refused(team: Team, follower: Follower) -> None:
    forged = team.unsigned_listing("evil")
    forged.sign(team.keys["targets"][0], append=True)
    (signature,) = forged.signatures.values()
    forged.signatures["0" * 64] = Signature("0" * 64, signature.signature)
    team.forge(targets=written(forged), targets_version=2)
    refused(follower, r"1/2 keys")


def test_a_removed_key_counts_no_longer(team: Team, follower: Follower) -> None:
    removed = team.rotate("targets")
    follower.update()
    forged = team.unsigned_listing("evil")
    forged.sign(removed, append=True)
    forged.sign(team.keys["targets"][1], append=True)
    team.forge(targets=written(forged), targets_version=team.version("targets") + 1)
    refused(follower, r"1/2 keys")


def test_a_removed_online_key_counts_no_longer(team: Team, follower: Follower) -> None:
    removed = team.rotate("online")
    follower.update()
    team.forge(online=[removed])
    refused(follower, r"timestamp\.json is not signed as the trusted root asks.* 0/1 keys")


@pytest.mark.parametrize("holders", ["new", "old", "one of each"])
def test_a_new_root_needs_the_old_and_the_new_holders(
    holders: str, team: Team, follower: Follower
) -> None:
    old = list(team.keys["root"])
    new = [CryptoSigner.generate_ed25519() for _ in range(3)]
    draft_keys(
        team.folder,
        "root",
        add=[each.public_key for each in new],
        remove=[each.public_key.keyid for each in old],
        now=datetime.now(UTC),
    )
    draft = Metadata.from_file(str(team.folder / "draft/root.json"))
    for signer in {"new": new, "old": old, "one of each": [old[0], new[0]]}[holders]:
        draft.sign(signer, append=True)
    (team.folder / "2.root.json").write_bytes(written(draft))
    refused(follower, r"2\.root\.json is not signed as the trusted root asks")


def test_a_wrong_root_is_refused(team: Team, home: Path, tmp_path: Path) -> None:
    other = Team(tmp_path / "other")
    other.begin("tiny")
    with RegistryServer(team.folder) as server:
        follower = Follower(home, server)
        with pytest.raises(TrustError, match=r"is not signed as the trusted root asks.*another"):
            follower.add((other.folder / "1.root.json").read_bytes())
        assert follower.registries.names() == []
        assert list(follower.registries.folder.iterdir()) == []


def test_swapped_target_bytes_are_refused(team: Team, follower: Follower) -> None:
    team.add(manifest("second"))
    (target,) = team.folder.glob("models/*.second.json")
    target.write_bytes(target.read_bytes().replace(b"Tiny", b"Evil"))
    refused(follower, r"second\.json is not the file that was signed")


def test_a_truncated_target_is_refused(
    team: Team, follower: Follower, server: RegistryServer
) -> None:
    team.add(manifest("second"))
    (target,) = team.folder.glob("models/*.second.json")
    target.write_bytes(target.read_bytes()[:-1])
    refused(follower, r"second\.json is not the file that was signed")


def test_a_redirect_elsewhere_is_refused(
    team: Team, follower: Follower, server: RegistryServer, tmp_path: Path
) -> None:
    with RegistryServer(team.folder) as elsewhere:
        location = f"{elsewhere.url}timestamp.json"
        server.instead["timestamp.json"] = once(
            head("302 Found", Location=location, Content_Length=0)
        )
        refused(follower, r"timestamp\.json is redirected to .*timestamp\.json")
        assert elsewhere.asked == []


def test_a_redirect_within_the_server_is_followed(
    team: Team, follower: Follower, server: RegistryServer
) -> None:
    server.instead["timestamp.json"] = once(
        head("301 Moved", Location="/moved.json", Content_Length=0)
    )
    shutil.copy(team.folder / "timestamp.json", team.folder / "moved.json")
    follower.update()


def test_a_redirect_in_a_circle_ends(follower: Follower, server: RegistryServer) -> None:
    server.instead["timestamp.json"] = once(
        head("301 Moved", Location="/timestamp.json", Content_Length=0)
    )
    refused(follower, "is redirected to")


def test_a_server_that_is_gone_leaves_the_cache(team: Team, home: Path) -> None:
    with following(team.folder, home) as (follower, _):
        pass
    error = refused(follower, "acme cannot be reached", kind=NoSourceError)
    assert "can be used offline" in str(error.hint)


def test_a_page_instead_of_a_file_is_refused(follower: Follower, server: RegistryServer) -> None:
    page = b"<!DOCTYPE html><title>Not found</title>"
    for name in ("2.root.json", "timestamp.json"):
        server.instead[name] = once(head(Content_Length=len(page)), page)
        refused(follower, f"{name} is not TUF metadata.*a page")
        del server.instead[name]


def test_a_server_in_trouble_is_asked_again(team: Team, home: Path) -> None:
    data = (team.folder / "timestamp.json").read_bytes()

    def busy(asked: Asked) -> Iterator[bytes | float]:
        if asked.nth < 3:
            yield head("503 Busy", Content_Length=0)
        else:
            yield head(Content_Length=len(data))
            yield data

    with following(team.folder, home) as (follower, server):
        server.instead["timestamp.json"] = busy
        follower.bounds = FetchBounds(pause=0.01)
        follower.update()


@pytest.mark.parametrize(
    "data", [b"[" * 5000, b'{"signed": 1, "signed": 2}', b"\xff\xfe", b"", b"null", b"{}"]
)
def test_metadata_that_is_none_is_refused(
    data: bytes, follower: Follower, server: RegistryServer
) -> None:
    server.instead["timestamp.json"] = once(head(Content_Length=len(data)), data)
    refused(follower, r"timestamp\.json is not TUF metadata")


def test_a_malformed_manifest_is_told_of_and_hides_no_other(team: Team, follower: Follower) -> None:
    forged = team.unsigned_listing()
    from grokdist.catalog.tuf_roles import target_file

    for name, data in (("bad", b"{}"), ("other", manifest("tiny"))):
        listed = target_file(f"models/{name}.json", data)
        forged.signed.targets[listed.path] = listed
        (team.folder / "models" / f"{listed.hashes['sha256']}.{name}.json").write_bytes(data)
    for signer in team.keys["targets"]:
        forged.sign(signer, append=True)
    team.forge(targets=written(forged), targets_version=2)
    update = follower.update()
    assert any("models/bad.json is signed, but malformed" in note for note in update.notes)
    assert any("models/other.json is signed, but the manifest of" in n for n in update.notes)
    registry = follower.registries.get("acme").registry()
    assert registry.load("tiny").manifest.title == "Tiny"
    with pytest.raises(ManifestError):
        registry.load("bad")
    with pytest.raises(TrustError, match="describes another model"):
        registry.load("other")


@pytest.mark.parametrize(
    "file", ["1.root.json", "timestamp.json", "snapshot.json", "targets.json", "models/tiny.json"]
)
def test_a_changed_cache_is_found_and_mended(file: str, team: Team, follower: Follower) -> None:
    registry = follower.registries.get("acme").registry()
    path = registry.folder / file
    path.write_bytes(path.read_bytes().replace(b"e", b"f", 1))
    with pytest.raises(TrustError) as caught:
        registry.load("tiny")
    if not file.startswith("models"):
        assert caught.value.hint == "grokdist registry update acme"
    follower.update()
    assert follower.models() == ("tiny",)


def test_a_changed_pin_is_found(team: Team, follower: Follower) -> None:
    path = follower.registries.get("acme").folder / "root.json"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(TrustError, match="the pinned root of the registry acme was changed"):
        follower.update()


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"{}",
        b"[]",
        b'{"schema": "grokdist/followed-registry/v2"}',
        b'{"schema": "grokdist/followed-registry/v1", "url": 1}',
    ],
)
def test_a_damaged_state_is_told_of(state: bytes, follower: Follower) -> None:
    (follower.registries.get("acme").folder / "registry.json").write_bytes(state)
    with pytest.raises(TrustError, match=r"registry\.json"):
        follower.registries.get("acme")


def test_an_update_that_is_under_way_excludes_another(follower: Follower) -> None:
    from grokdist.catalog.followed_registry import locked
    from grokdist.errors import StoreError

    with (
        locked(follower.registries.get("acme").folder),
        pytest.raises(StoreError, match="another process is updating"),
    ):
        follower.update()


def test_a_registry_that_is_followed_no_longer_is_gone(follower: Follower) -> None:
    follower.registries.remove("acme")
    assert follower.registries.names() == []
    with pytest.raises(UnknownModelError, match="no registry 'acme' is followed"):
        follower.registries.get("acme")


@pytest.mark.parametrize("name", ["embedded", "unsigned", "", "A", "a/b", "..", "a:b", "x" * 40])
def test_a_name_that_cannot_be_one_is_refused(name: str, home: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a registry"):
        FollowedRegistries(home).add(name, "https://example.org/", b"", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "https://user:secret@example.org/",
        "https://example.org/?token=1",
        "file:///etc/",
        "https://",
        "https://exa mple.org/",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str, team: Team, home: Path) -> None:
    root = (team.folder / "1.root.json").read_bytes()
    with pytest.raises(UsageError, match="cannot be a registry's address"):
        FollowedRegistries(home).add("acme", url, root, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("root", [b"", b"{}", b"<html>"])
def test_a_root_that_is_none_is_refused(root: bytes, home: Path) -> None:
    with pytest.raises(UsageError, match="this is no root to follow a registry by"):
        FollowedRegistries(home).add("acme", "https://example.org/", root, None)  # type: ignore[arg-type]


def test_no_credentials_and_no_other_place_are_asked(
    follower: Follower, server: RegistryServer
) -> None:
    assert server.asked
    for asked in server.asked:
        assert "authorization" not in asked.headers
        assert "cookie" not in asked.headers
    assert not os.environ.get("HTTP_PROXY")
