"""What ``--dry-run`` says, from the object that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from grokdist.cli.plan_text import plan_document, plan_text
from grokdist.transfer.engine import fetch
from grokdist.transfer.plan import Plan
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.sources.local import LocalSource
from tests.transfer.models import HASTY, leave_part, plan_for

FILES = {"a": b"a" * 3000, "b": b"b" * 2000, "c": b"c" * 1000, "d": b"d" * 500, "e": b"e"}


def _plan(tmp_path: Path, **changes: Any) -> Plan:
    """A plan for a directory that holds a file in each of the states."""
    copy, model = tmp_path / "copy", tmp_path / "model"
    copy.mkdir()
    (copy / "a").write_bytes(FILES["a"])
    (copy / "b").write_bytes(FILES["b"])
    fetch(plan_for(FILES, model, LocalSource(copy), include=("a",)), patience=HASTY)
    (model / "c").write_bytes(FILES["c"])
    (model / "e").write_bytes(b"more than that")
    leave_part(model, "d", FILES["d"], (0, 300))
    mirror = HttpsSource("https://mirror.example/", files=("x",))
    return plan_for(FILES, model, LocalSource(copy), mirror, **changes)


def _rows(plan: Plan) -> list[tuple[str, str]]:
    facts = plan_text(plan).split("\n\n", 1)[1]
    return [(row[:11].strip(), row[11:]) for row in facts.splitlines()]


def test_what_is_here_counts_by_its_state(tmp_path: Path) -> None:
    plan = _plan(tmp_path, max_rate=100)
    rows = _rows(plan)
    assert [row for row in rows if row[0] in ("here", "")] == [
        ("here", "1 file right, 3.0 kB"),
        ("", "1 file to be hashed first, 1.0 kB"),
        ("", "1 file begun, 300 B of 500 B"),
        ("", "1 file missing, 2.0 kB"),
        ("", "1 file of another size or kind, to be replaced, 1 B"),
    ]
    facts = dict(rows)
    assert facts["to fetch"] == "2.2 kB (2,201 bytes)"
    assert facts["disk"].startswith(f"{plan.disk_needed / 1000:.1f} kB needed besides 4.3 kB that")
    assert facts["disk"].endswith("free: fits")
    assert facts["time"] == "at least 22.0 s at 100 B/s"
    assert facts["no source"] == "2 files"
    assert plan_document(plan)["fetch_bytes"] == 2201


def test_each_source_says_what_it_may_have(tmp_path: Path) -> None:
    rows = _rows(_plan(tmp_path))
    assert [value for label, value in rows if label == "source"] == [
        f"local:{tmp_path / 'copy'}: up to 1 of 4 files, 2.0 kB",
        "https:https://mirror.example/: none of 4 files",
    ]
    assert dict(rows)["time"] == "not known before bytes arrive"


def test_where_all_is_right_nothing_is_needed(tmp_path: Path) -> None:
    rows = dict(_rows(_plan(tmp_path, include=("a",))))
    assert rows["here"] == "1 file right, 3.0 kB"
    assert rows["time"] == "nothing to fetch"
    assert rows["source"].endswith(": not needed")
