"""Announcements: what is heeded, and that members hear each other on this machine."""

from __future__ import annotations

import json
import socket
import time

import pytest

from grokdist.transfer.share.discovery import Announcement, Discovery
from grokdist.transfer.share.keys import ShareKey
from grokdist.transfer.share.status import Address
from tests.servers.hub_server import wait_until
from tests.transfer.share.machines import settings

SHARE = "ab" * 20
KEY = ShareKey("a secret of sixteen letters")
HERE = Announcement(share_id=SHARE, member="11" * 16, port=4711)


def test_what_is_said_is_heard() -> None:
    for key in (None, KEY):
        found = Announcement.read(HERE.to_bytes(key), key)
        assert found is not None
        assert (found.share_id, found.member, found.port) == (SHARE, "11" * 16, 4711)


def test_with_a_key_only_its_holders_are_heeded() -> None:
    assert Announcement.read(HERE.to_bytes(None), KEY) is None
    assert Announcement.read(HERE.to_bytes(ShareKey("another secret of ours")), KEY) is None
    signed = json.loads(HERE.to_bytes(KEY))
    for key, value in (("port", 4712), ("member", "22" * 16), ("time", 1), ("mac", None)):
        changed = json.dumps(signed | {key: value}).encode()
        assert Announcement.read(changed, KEY) is None


def test_one_that_was_recorded_long_ago_is_not_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = HERE.to_bytes(KEY)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    assert Announcement.read(recorded, KEY) is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"{}",
        b"[" * 900,
        json.dumps({"grokdist": 2, "share": SHARE, "member": "m", "port": 1}).encode(),
        json.dumps({"grokdist": 1, "share": SHARE, "member": "m", "port": 0}).encode(),
        json.dumps({"grokdist": 1, "share": SHARE, "member": "m", "port": 65536}).encode(),
        json.dumps({"grokdist": 1, "share": SHARE, "member": "m", "port": True}).encode(),
        json.dumps({"grokdist": 1, "share": SHARE, "member": 7, "port": 1}).encode(),
    ],
)
def test_what_is_no_announcement_is_not_heeded(data: bytes) -> None:
    assert Announcement.read(data, None) is None


def test_members_of_one_share_hear_each_other() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    heard: dict[str, set[tuple[str, Address]]] = {"first": set(), "second": set(), "other": set()}
    chosen = settings(multicast=True, group_port=port)
    said = {
        "first": Announcement(share_id=SHARE, member="11" * 16, port=1),
        "second": Announcement(share_id=SHARE, member="22" * 16, port=2),
        "other": Announcement(share_id="cd" * 20, member="33" * 16, port=3),
    }
    running = [
        Discovery(said[name], lambda i, a, name=name: heard[name].add((i, a)), chosen)
        for name in said
    ]
    try:
        for each in running:
            each.start()
        wait_until(lambda: heard["first"] and heard["second"], 20)
    finally:
        for each in running:
            each.close()
    assert heard["first"] == {("22" * 16, ("127.0.0.1", 2))}
    assert heard["second"] == {("11" * 16, ("127.0.0.1", 1))}
    assert heard["other"] == set()
