"""Events for other programs: their form, and that no reader can harm a fetch."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grokdist.cli.events import EventProgress, EventStream, beside, event_stream
from grokdist.cli.output import Output
from grokdist.errors import NoSourceError, UsageError
from grokdist.transfer.progress import SourceCondition, SourceState
from tests.cli.conftest import Cli, finish, spawn
from tests.servers.hub_server import wait_until

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _check(value: Any, schema: dict[str, Any], where: str) -> None:
    """Check a value against the part of JSON Schema that the document uses, and no other."""
    for keyword, rule in schema.items():
        match keyword:
            case "type":
                names = [rule] if isinstance(rule, str) else rule
                kinds = tuple(kind for name in names for kind in _TYPES[name])
                assert isinstance(value, kinds), (where, value, rule)
                assert not isinstance(value, bool) or bool in kinds, (where, value, rule)
            case "enum":
                assert value in rule, (where, value, rule)
            case "minimum":
                assert value is None or value >= rule, (where, value, rule)
            case "required":
                assert set(rule) <= set(value), (where, set(rule) - set(value))
            case "properties":
                for key, below in rule.items():
                    if key in value:
                        _check(value[key], below, f"{where}.{key}")
            case "items":
                for place, each in enumerate(value):
                    _check(each, rule, f"{where}[{place}]")
            case "description" | "title" | "$schema" | "$defs":
                pass
            case _:
                raise AssertionError(f"the schema uses {keyword}, which this test does not know")


@pytest.fixture(scope="module")
def schema(repository: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((repository / "docs/events.schema.json").read_bytes())
    return document


def _events(data: bytes, schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, each checked against the schema, with no key it does not name."""
    events = [json.loads(line) for line in data.splitlines()]
    for event in events:
        name = event.get("event")
        form = schema["$defs"][name]
        _check(event, schema, name)
        _check(event, form, name)
        assert set(event) <= set(schema["properties"]) | set(form["properties"]), event
    return events


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[tuple[EventStream, Path]]:
    path = tmp_path / "events"
    stream = EventStream(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    yield stream, path
    stream.close()


def test_every_event_has_the_form_that_is_written_down(
    stream: tuple[EventStream, Path], schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokdist.cli.events._EVERY_S", 0.01)
    events, path = stream
    progress = EventProgress(events)
    progress.begin("fetch", files=2, size=300, have=10)
    progress.file_begun("a", size=100, have=10)
    progress.claim("hub:x/y", "a", 10)
    progress.advance("hub:x/y", "a", 90)
    resting = SourceState(
        peers=2, condition=SourceCondition.RESTING, reason="tracker dead", resumes_in=1.234
    )
    progress.source("torrent:z", resting)
    progress.source_failed("torrent:z", None, "tracker dead", wrong=False, final=False)
    progress.source_failed("hub:x/y", "b", "wrong bytes", wrong=True, final=True)
    progress.note("ein Wort für Leute \x1b[2J")
    progress.file_done("a", 100, "hub:x/y")
    progress.trees(1, 2)
    progress.end()
    events.close()
    seen = _events(path.read_bytes(), schema)
    assert b"\x1b" not in path.read_bytes()
    assert path.read_bytes().isascii()
    assert [event["event"] for event in seen if event["event"] != "progress"] == [
        "stage", "source_failed", "source_banned", "note", "file_verified", "trees",
    ]  # fmt: skip
    last = seen[-1]
    assert last["event"] == "progress"
    assert (last["files_done"], last["bytes"], last["total"]) == (1, 100, 300)
    assert last["sources"][1] | {"bytes": 0} == {
        "name": "torrent:z", "bytes": 0, "rate": 0, "connections": 0, "peers": 2,
        "condition": "resting", "reason": "tracker dead", "resumes_in": 1.2,
    }  # fmt: skip


def test_a_fetch_writes_from_its_start_to_its_end(
    cli: Cli, tmp_path: Path, schema: dict[str, Any]
) -> None:
    log = tmp_path / "log"
    argv = ("fetch", "grok-mini", "--dir", tmp_path / "d", "--events", log, "--json")
    ended = cli(*argv)
    assert ended.code == 0, ended
    events = _events(log.read_bytes(), schema)
    assert events[0]["event"] == "start"
    assert events[0]["plan"]["files"] == ended.json["files"]
    verified = {event["path"] for event in events if event["event"] == "file_verified"}
    assert verified == {file["path"] for file in events[0]["plan"]["plan"]}
    assert (events[-1]["event"], events[-1]["result"]) == ("done", ended.json)
    stages = [event["task"] for event in events if event["event"] == "stage"]
    assert stages == ["fetch"]
    cli(*argv)
    assert len(_events(log.read_bytes(), schema)) > len(events)


def test_stderr_then_holds_nothing_but_events(
    repository: Path, tmp_path: Path, schema: dict[str, Any]
) -> None:
    argv = ("fetch", "grok-mini", "--dir", tmp_path / "d", "--events", "-", "--json")
    ended = finish(spawn(*argv, cwd=repository, GROKDIST_HOME=str(tmp_path / "home")))
    assert ended.code == 0, ended
    lines = [line for line in ended.err.splitlines() if not line.startswith("warning:")]
    assert _events("\n".join(lines).encode(), schema)[-1]["result"] == ended.json


def test_a_descriptor_of_the_caller(cli: Cli, tmp_path: Path, schema: dict[str, Any]) -> None:
    ours, theirs = os.pipe()
    ended = cli("fetch", "grok-mini", "--dry-run", "--events", f"fd:{theirs}", "--dir", tmp_path)
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        events = _events(pipe.read(), schema)
    assert ended.code == 0
    assert [event["event"] for event in events] == ["start", "done"]
    assert events[1]["result"]["dry_run"] is True


def test_the_last_event_says_how_it_ended(cli: Cli, tmp_path: Path, schema: dict[str, Any]) -> None:
    log = tmp_path / "log"
    argv = ("fetch", "grok-mini", "--source", "local", "--dir", tmp_path / "d")
    assert cli(*argv, "--include", "nothing", "--events", log).code == 2
    (only,) = _events(log.read_bytes(), schema)
    assert (only["event"], only["exit_code"], only["error"]) == ("failed", 2, "UsageError")
    for error, name, code in (
        (KeyboardInterrupt(), "interrupted", 130),
        (NoSourceError("nobody", hint="try again"), "failed", 14),
        (SystemExit(3), "failed", 1),
    ):
        log.unlink()
        with pytest.raises(type(error)), event_stream(str(log)):
            raise error
        (only,) = _events(log.read_bytes(), schema)
        assert (only["event"], only["exit_code"]) == (name, code)


def test_a_reader_that_goes_away_is_missed_by_nobody(cli: Cli, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    ended = cli("fetch", "grok-mini", "--dir", tmp_path / "d", "--events", f"fd:{theirs}")
    os.close(theirs)
    assert ended.code == 0, ended


def test_a_reader_that_does_not_read_costs_events_and_no_time(
    monkeypatch: pytest.MonkeyPatch, schema: dict[str, Any]
) -> None:
    monkeypatch.setattr("grokdist.cli.events._QUEUED", 5)
    ours, theirs = os.pipe()
    stream = EventStream(theirs)
    for _ in range(100):
        stream.emit("note", message="x" * 100_000)
    received = bytearray()
    reader = threading.Thread(target=_read_to_end, args=(ours, received))
    reader.start()
    wait_until(lambda: received.count(b"\n") >= 5)
    stream.emit("note", message="the last")
    stream.close()
    reader.join(10)
    os.close(ours)
    events = _events(bytes(received), schema)
    assert events[-1]["message"] == "the last"
    assert len(events) <= 7
    assert len(events) + events[-1]["dropped"] == 101


def test_a_reader_that_never_reads_cannot_keep_a_command_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("grokdist.cli.events._PARTING_S", 0.05)
    ours, theirs = os.pipe()
    stream = EventStream(theirs)
    for _ in range(100):
        stream.emit("note", message="x" * 100_000)
    stream.close()
    os.close(ours)


def _read_to_end(fd: int, received: bytearray) -> None:
    while data := os.read(fd, 1 << 20):
        received += data


@pytest.mark.parametrize("target", ["fd:", "fd:999999", "fd:-1", "/", "/nowhere/at/all", "fd:1x/y"])
def test_a_target_that_cannot_be_written_is_a_usage_error(cli: Cli, target: str) -> None:
    with pytest.raises(UsageError, match="expected a file, - for stderr or fd:N"):
        event_stream(target).__enter__()
    assert cli("fetch", "grok-mini", "--dry-run", "--events", target).code == 2


def test_people_are_told_nothing_on_the_stream_of_programs() -> None:
    out = Output(verbose=True)
    assert beside(out, None) is out
    assert beside(out, "log") is out
    assert beside(out, "-").quiet


def test_the_page_names_every_event(repository: Path, schema: dict[str, Any]) -> None:
    page = (repository / "docs/events.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted(schema["$defs"]) == sorted(schema["properties"]["event"]["enum"])
