"""``run --prompts``: a file of prompts answered, resumed, and what is wrong in it said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grokdist.cli.prompt_file import AnswerFile, read_prompts
from grokdist.errors import StoreError, UsageError
from tests.cli.conftest import Cli

LINES: list[Any] = [
    {"prompt": "To be, or not to be", "id": "hamlet"},
    {"tokens": [300, 301, 302], "max_tokens": 2, "id": 7},
    "not an object",
    {"prompt": "Friends,", "temprature": 1},
    {"prompt": "My lord,", "logprobs": 1, "stop": "zzz", "temperature": 1.0},
]
FLAGS = ("--max-tokens", "5", "--temperature", "0", "--seed", "11", "--batch", "2")


def _write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_is_answered_and_gone_on_from(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, output = _write(tmp_path / "in.jsonl", LINES), tmp_path / "out.jsonl"
    argv = ("run", "--prompts", prompts, "--output", output, *FLAGS)
    with monkeypatch.context() as patch:
        add = AnswerFile.add

        def interrupted(self: AnswerFile, line: int, answer: dict[str, Any]) -> None:
            add(self, line, answer)
            if len(self.settled) == 2:
                raise KeyboardInterrupt

        patch.setattr(AnswerFile, "add", interrupted)
        assert cli(*argv).code == 130
    begun = [row for row in _read(output) if "error" not in row]
    assert len(begun) == 2
    with output.open("a") as file:
        file.write('{"line": 5, "request": "torn')

    ended = cli(*argv, "--json")
    assert ended.code == 1
    assert (ended.json["prompts"], ended.json["skipped"], ended.json["answered"]) == (5, 2, 1)
    assert ended.json["failed"] == 2
    assert "torn" in ended.err
    rows = _read(output)
    assert [(row["line"], row["id"]) for row in rows] == [
        (1, "hamlet"),
        (2, 7),
        (3, None),
        (4, None),
        (5, None),
    ]
    assert all(row in rows for row in begun)
    assert "expected an object" in rows[2]["error"]["message"]
    assert "'temprature' is no setting" in rows[3]["error"]["message"]
    assert (rows[1]["tokens"], rows[1]["stop_reason"]) == (2, "length")
    assert [len(token["top"]) for token in rows[4]["logprobs"]] == [1] * rows[4]["tokens"]
    # Each line has a seed of its own, and its text is what it is alone.
    assert [row["seed"] for row in rows if "seed" in row] == [11, 12, 15]
    alone = cli("run", "To be, or not to be", *FLAGS[:6], "--json").json
    assert rows[0]["token_ids"] == alone["token_ids"]

    # Mended, only what failed is asked again; then nothing is left to do.
    _write(prompts, [*LINES[:2], {"prompt": "Once"}, {"prompt": "Friends,"}, LINES[4]])
    mended = cli(*argv, "--json")
    assert mended.code == 0
    assert (mended.json["skipped"], mended.json["answered"]) == (3, 2)
    before = output.read_bytes()
    assert cli(*argv).code == 0
    assert output.read_bytes() == before
    assert [row["line"] for row in _read(output)] == [1, 2, 3, 4, 5]

    # Answers to other questions are never mixed with these.
    for other in (("--temperature", "1"), ("--seed", "12")):
        refused = cli(*argv, *other)
        assert refused.code == 2
        assert "asked otherwise" in refused.err
    _write(prompts, LINES[:1])
    assert "does not have" in cli(*argv).err
    assert output.read_bytes() == before


def test_logprobs_of_one_prompt(cli: Cli) -> None:
    argv = ("run", "To be, or not", "--max-tokens", "4", "--temperature", "0", "--logprobs", "2")
    document = cli(*argv, "--json").json
    assert [row["token_id"] for row in document["logprobs"]] == document["token_ids"]
    assert "".join(row["text"] for row in document["logprobs"]) == document["text"]
    for row in document["logprobs"]:
        # Greedy, so that the chosen one is the most likely.
        assert row["top"][0]["token_id"] == row["token_id"]
        assert row["top"][0]["logprob"] == pytest.approx(row["logprob"], abs=1e-5)
        assert row["top"][0]["logprob"] >= row["top"][1]["logprob"]
    shown = cli(*argv, "-q")
    assert shown.out.strip("\n") == document["text"]
    assert len([line for line in shown.err.splitlines() if "%" in line]) == 4
    assert cli("run", "x", "--json", "--max-tokens", "1").json["logprobs"] is None
    assert cli("run", "x", "--logprobs", "21").code == 2


def test_usage(cli: Cli, tmp_path: Path) -> None:
    prompts = _write(tmp_path / "in.jsonl", LINES[:1])
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "notes.txt").write_text("mine\n")
    for argv in (
        ("--prompts", prompts),
        ("--output", tmp_path / "out.jsonl"),
        ("x", "--prompts", prompts, "--output", tmp_path / "out.jsonl"),
        ("--prompts", tmp_path / "none.jsonl", "--output", tmp_path / "out.jsonl"),
        ("--prompts", tmp_path / "empty.jsonl", "--output", tmp_path / "out.jsonl"),
        ("--prompts", prompts, "--output", prompts),
        ("--prompts", prompts, "--output", tmp_path / "no/folder/out.jsonl"),
        ("--prompts", prompts, "--output", tmp_path / "notes.txt"),
        ("--prompts", prompts, "--output", tmp_path / "out.jsonl", "--batch", "0"),
    ):
        ended = cli("run", *argv)
        assert ended.code == 2, (argv, ended)
        assert "Traceback" not in ended.err
    assert not (tmp_path / "out.jsonl").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"prompt": ', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "expected an object"),
        (b"{}", "expected prompt or tokens"),
        (b'{"prompt": "a", "tokens": [1]}', "expected prompt or tokens"),
        (b'{"prompt": ""}', "expected one that is not empty"),
        (b'{"prompt": 1}', "prompt is no text"),
        (b'{"tokens": [1, true]}', "no list of integers"),
        (b'{"tokens": "1"}', "no list of integers"),
        (b'{"prompt": "a", "id": []}', "expected a text or an integer"),
    ],
)
def test_a_line_that_is_wrong_is_wrong_alone(tmp_path: Path, line: bytes, fault: str) -> None:
    (tmp_path / "in.jsonl").write_bytes(line + b'\n\n{"prompt": "Once"}')
    wrong, right = read_prompts(tmp_path / "in.jsonl")
    assert fault in wrong.fault
    assert (right.number, right.prompt, right.fault) == (3, "Once", "")


KILLED = """
import sys
from pathlib import Path
from grokdist.cli.prompt_file import AnswerFile
with AnswerFile(Path(sys.argv[1])) as answers:
    print("begun", flush=True)
    line = max(answers.settled, default=0)
    while True:
        line += 1
        answers.add(line, {"line": line, "request": "r", "text": "x" * (line * 7919 % 9000)})
"""


def test_a_killed_writer_loses_nothing_whole(tmp_path: Path, repository: Path) -> None:
    output = tmp_path / "out.jsonl"
    settled = 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(output)],
            cwd=repository,
            env={**os.environ, "PYTHONPATH": str(repository)},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        with pytest.raises(StoreError, match="by another process"):
            AnswerFile(output)
        enough = output.stat().st_size + 20_000
        while output.stat().st_size < enough:
            assert child.poll() is None
        child.kill()
        child.wait()
        child.stdout.close()
        with AnswerFile(output) as answers:
            assert sorted(answers.settled) == list(range(1, len(answers.settled) + 1))
            assert len(answers.settled) > settled
            settled = len(answers.settled)


def test_the_last_answer_to_a_line_counts_and_order_comes_last(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.touch(mode=0o600)
    with AnswerFile(output) as answers:
        answers.add(2, {"line": 2, "request": "b", "error": {"message": "no"}})
        answers.add(1, {"line": 1, "request": "a"})
        answers.add(2, {"line": 2, "request": "c"})
        assert answers.settled == {1: "a", 2: "c"}
        answers.finish()
    assert [(row["line"], row["request"]) for row in _read(output)] == [(1, "a"), (2, "c")]
    assert output.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir() if "part" in each.name] == []


def test_a_full_disk_leaves_whole_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "out.jsonl"
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) > 100:
            return write(fd, data[:50])
        raise OSError(28, os.strerror(28))

    with AnswerFile(output) as answers:
        answers.add(1, {"line": 1, "request": "a"})
        monkeypatch.setattr("grokdist.cli.prompt_file.os.write", full)
        with pytest.raises(StoreError, match="No space left"):
            answers.add(2, {"line": 2, "request": "b", "text": "x" * 90})
    monkeypatch.undo()
    assert [row["line"] for row in _read(output)] == [1]


def test_another_file_is_not_taken_for_answers(tmp_path: Path) -> None:
    for text in ("mine", "mine\n", '{"line": 1}\n', '{"line": true, "request": "a"}\n', "[1]\n"):
        (tmp_path / "out").write_text(text)
        with pytest.raises(UsageError, match="no answer of this command"):
            AnswerFile(tmp_path / "out")
        assert (tmp_path / "out").read_text() == text
