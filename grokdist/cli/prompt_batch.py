"""``grokdist run --prompts``: answer a file of prompts, many at once, and go on after a stop."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokdist.cli.generation_settings import GenerationSettings
from grokdist.cli.output import Output
from grokdist.cli.progress import showing
from grokdist.cli.prompt_file import AnswerFile, PromptLine, read_prompts
from grokdist.cli.tally import PROMPTS
from grokdist.cli.token_table import token_rows
from grokdist.errors import GrokdistError, UsageError
from grokdist.transfer.progress import DISK
from grokdist_runtime.errors import RuntimeModelError
from grokdist_runtime.events import Completion, EndEvent, Event, TokenEvent
from grokdist_runtime.scheduler import Scheduler

if TYPE_CHECKING:
    from grokdist_runtime.engine import Engine

_SEEDS = 1 << 32
_AHEAD = 2
"""Prompts that are read ahead for each row, so that no row waits for the next."""


@dataclasses.dataclass(kw_only=True)
class Outcome:
    """What became of a file of prompts.

    Attributes:
        prompts: lines with something on them.
        answered: in this run.
        skipped: that had their answers already.
        failed: that have an error for an answer.
        prompt_tokens: taken in, in this run.
        tokens: generated, in this run.
        seconds: that it took, without loading.
        torn: bytes of a torn answer that an earlier run had left.
    """

    prompts: int = 0
    answered: int = 0
    skipped: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    seconds: float = 0.0
    torn: int = 0

    def count(self, answer: Mapping[str, Any]) -> None:
        """One more answer."""
        if "error" in answer:
            self.failed += 1
            return
        self.answered += 1
        self.prompt_tokens += answer["prompt_tokens"]
        self.tokens += answer["tokens"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """A file of prompts and what is asked of all of them.

    Attributes:
        prompts: the file.
        output: the file of answers.
        settings: of every line that does not ask for others.
        seeded: whether the user named the seed; then line N has the seed after N - 1 others.
        model: what tells the model from another.
        rows: texts decoded together.
    """

    prompts: Path
    output: Path
    settings: GenerationSettings
    seeded: bool
    model: str
    rows: int

    def request(self, line: PromptLine) -> str:
        """What tells one question from another: its line, the settings and the model."""
        settings = self.settings.document()
        if not self.seeded:
            del settings["seed"]
        asked = json.dumps([self.model, settings, line.digest], sort_keys=True)
        return hashlib.sha256(asked.encode()).hexdigest()

    def settings_of(self, line: PromptLine) -> GenerationSettings:
        """The settings of one line.

        Raises:
            UsageError, PromptError: it asks for something that there is not.
        """
        own = (self.settings.sampling.seed + line.number - 1) % _SEEDS
        return self.settings.changed({"seed": own} | dict(line.changes or {}))


def check(job: Job) -> Outcome:
    """Look at both files before a model is loaded for them, and mend the answers.

    Returns:
        What an earlier run left: nothing is to be done where all is ``skipped``.

    Raises:
        UsageError, StoreError: they cannot be used.
    """
    if job.output.exists() and job.prompts.exists() and job.output.samefile(job.prompts):
        raise UsageError(f"--output {job.output} is the file of prompts; expected another")
    if not any(True for _ in read_prompts(job.prompts)):
        raise UsageError(f"--prompts {job.prompts} holds no prompts; expected one a line")
    if not job.output.exists():
        if not job.output.parent.is_dir():
            raise UsageError(f"--output {job.output} is in no folder; expected one that exists")
        # Made once there is something to write.
        return Outcome(prompts=sum(1 for _ in read_prompts(job.prompts)))
    with AnswerFile(job.output) as answers:
        prompts, left = _open(job, answers)
        if not left:
            answers.finish()
        return Outcome(prompts=prompts, skipped=prompts - left, torn=answers.torn)


def answer_all(engine: Engine, job: Job, out: Output) -> Outcome:
    """Answer what has no answer yet.

    Raises:
        UsageError: the answers that are there are those of other questions.
        StoreError: an answer cannot be written.
    """
    started = time.perf_counter()
    with AnswerFile(job.output) as answers:
        outcome = Outcome()
        outcome.prompts, open_lines = _open(job, answers)
        outcome.skipped = outcome.prompts - open_lines
        with showing(out) as progress:
            progress.begin(PROMPTS, files=outcome.prompts, size=0, have=0)
            for _ in range(outcome.skipped):
                progress.file_done("", 0, DISK)
            with contextlib.closing(_answers(engine, job, answers)) as whole:
                for line, answer in whole:
                    answers.add(line.number, answer)
                    outcome.count(answer)
                    progress.advance(DISK, str(line.number), 0)
                    progress.file_done(str(line.number), 0, DISK)
        answers.finish()
    outcome.seconds = time.perf_counter() - started
    return outcome


def _open(job: Job, answers: AnswerFile) -> tuple[int, int]:
    """How many prompts there are, and how many of them have no answer."""
    numbers = set()
    left = 0
    for line in read_prompts(job.prompts):
        numbers.add(line.number)
        known = answers.settled.get(line.number)
        if known is None:
            left += 1
        elif known != job.request(line):
            raise UsageError(
                f"{job.output} has an answer to line {line.number} that was asked otherwise: of"
                " another text, with other settings or of another model; expected its own answers",
                hint="choose another --output, or the settings of before",
            )
    if beyond := sorted(answers.settled.keys() - numbers):
        raise UsageError(
            f"{job.output} answers line {beyond[0]}, which {job.prompts} does not have;"
            " expected the answers to this file",
            hint="choose another --output",
        )
    return len(numbers), left


def _answers(
    engine: Engine, job: Job, answers: AnswerFile
) -> Generator[tuple[PromptLine, dict[str, Any]], None, None]:
    """Answers as they become whole, in whatever order; a few prompts are ahead of them."""
    ahead = job.rows * _AHEAD
    lines = (line for line in read_prompts(job.prompts) if line.number not in answers.settled)
    asked: dict[Future[dict[str, Any] | None], PromptLine] = {}
    # The scheduler ends first, whatever happened: then nobody below waits for it.
    with (
        ThreadPoolExecutor(ahead, thread_name_prefix="prompt") as pool,
        Scheduler(engine, max_rows=job.rows, max_waiting=ahead) as scheduler,
    ):
        for line in lines:
            asked[pool.submit(_answer, engine, scheduler, job, line)] = line
            if len(asked) >= ahead:
                yield from _whole(asked)
        while asked:
            yield from _whole(asked)


def _whole(
    asked: dict[Future[dict[str, Any] | None], PromptLine],
) -> Iterator[tuple[PromptLine, dict[str, Any]]]:
    done, _ = wait(asked, return_when=FIRST_COMPLETED)
    for future in done:
        line = asked.pop(future)
        if (answer := future.result()) is not None:
            yield line, answer


def _answer(
    engine: Engine, scheduler: Scheduler, job: Job, line: PromptLine
) -> dict[str, Any] | None:
    """One answer; None where the whole was stopped before it came to its end."""
    known: dict[str, Any] = {"line": line.number, "id": line.id, "request": job.request(line)}
    try:
        if line.fault:
            raise UsageError(f"line {line.number}: {line.fault}")
        settings = job.settings_of(line)
        ids = list(line.tokens or ()) if line.prompt is None else engine.encode(line.prompt)
        events = scheduler.submit(
            ids,
            settings.asked,
            max_tokens=settings.max_tokens,
            stop=settings.stop,
            ignore_eos=settings.ignore_eos,
        )
        completion, tokens = _drained(events, keep=settings.logprobs is not None)
    except (GrokdistError, RuntimeModelError) as error:
        return known | {"error": {"message": str(error), "hint": error.hint}}
    if completion.stop_reason == "cancel":
        return None
    answer = known | {
        "text": completion.text,
        "token_ids": list(completion.token_ids),
        "prompt_tokens": completion.prompt_tokens,
        "tokens": len(completion.token_ids),
        "stop_reason": completion.stop_reason,
        "seed": settings.sampling.seed,
    }
    if settings.logprobs is not None:
        answer["logprobs"] = token_rows(tokens, engine.tokenizer)
    return answer


def _drained(events: Iterator[Event], *, keep: bool) -> tuple[Completion, list[TokenEvent]]:
    """All events of one text: how it ended, and its tokens where they are to be kept."""
    tokens: list[TokenEvent] = []
    for event in events:
        if isinstance(event, EndEvent):
            return event.completion, tokens
        if keep:
            tokens.append(event)
    raise AssertionError  # the last event is always an EndEvent
