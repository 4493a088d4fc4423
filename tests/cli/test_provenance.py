"""What a server says of a model that nothing vouches for, and of one that was checked quickly."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

from grokdist.catalog.registry import Registry
from grokdist.cli.provenance import provenance
from grokdist.cli.verified import VerifiedModel

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_nothing_is_claimed_of_what_nothing_vouches_for() -> None:
    opened = VerifiedModel(directory=Path("there"), name="there", trusted=None)
    found = provenance(opened, at=AT)
    assert found["verified"] is None
    assert found["notice"].startswith("UNVERIFIED: nothing vouches")
    assert "license" not in found


def test_a_large_model_is_said_to_be_checked_quickly() -> None:
    trusted = Registry.embedded().load("grok-1")
    opened = VerifiedModel(directory=Path("there"), name="grok-1", trusted=trusted)
    found = provenance(opened, at=AT)
    assert found["verified"] == {
        "at": "2026-01-02T03:04:05Z",
        "how": "sizes and times compared with those of the last full hash",
        "files": 772,
        "bytes": trusted.manifest.size,
    }
    assert found["openness"]["headline"] == "Weights, no training data"
    assert found["role"] == "observer"
    assert (found["sources"], found["fetched"]) == ([], None)
    mini = Registry.embedded().load("grok-mini")
    found = provenance(dataclasses.replace(opened, trusted=mini), at=AT)
    assert found["verified"]["how"].startswith("every file hashed")
