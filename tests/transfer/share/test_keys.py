"""Proofs of a shared key."""

from __future__ import annotations

import time

import pytest

from grokdist.transfer.share.keys import AGE, ShareKey

KEY = ShareKey("a secret of sixteen letters")


def test_a_proof_holds_for_its_request_alone() -> None:
    header = KEY.authorize("/target", "bytes=0-1")
    assert KEY.admits(header, "/target", "bytes=0-1")
    assert not KEY.admits(header, "/target2", "bytes=0-1")
    assert not KEY.admits(header, "/targetbytes=0-1", "")
    assert not ShareKey("another secret of ours").admits(header, "/target", "bytes=0-1")


def test_a_proof_holds_for_some_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    header = KEY.authorize("/target", "")
    now = time.time()
    for shift, good in ((AGE / 2, True), (-AGE / 2, True), (AGE * 2, False), (-AGE * 2, False)):
        monkeypatch.setattr(time, "time", lambda shift=shift: now + shift)
        assert KEY.admits(header, "/target", "") is good


@pytest.mark.parametrize("header", ["", "GROKDIST", "GROKDIST time=1, mac=", "Bearer " + "a" * 64])
def test_what_is_no_proof_is_refused(header: str) -> None:
    assert not KEY.admits(header, "/target", "")


def test_a_key_is_not_short() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        ShareKey("too short")
