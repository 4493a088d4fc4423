"""Requests from many threads, one thread that works: the queue's bound, cancelling, closing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from grokdist_runtime.engine import Engine
from grokdist_runtime.errors import BusyError, PromptError, TokenizerError
from grokdist_runtime.events import Completion, EndEvent, TokenEvent
from grokdist_runtime.runner import Runner
from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.scheduler import Answer, Scheduler

GREEDY = SamplingParams.greedy()
PROMPTS = [[40 + number, 50, 60] for number in range(6)]
WAIT_S = 120.0


@pytest.fixture
def scheduler(engine: Engine) -> Iterator[Scheduler]:
    with Scheduler(engine, max_rows=2, max_waiting=8) as running:
        yield running
    assert not running._thread.is_alive()


def completion(answer: Answer) -> Completion:
    *tokens, end = answer
    assert isinstance(end, EndEvent)
    assert all(isinstance(event, TokenEvent) for event in tokens)
    assert len(tokens) == len(end.completion.token_ids)
    return end.completion


def test_answers_to_many_threads_are_those_of_the_engine(engine: Engine) -> None:
    options: dict[str, Any] = {"max_tokens": 6, "ignore_eos": True}
    sampling = [SamplingParams(temperature=2.0, seed=seed) for seed in range(6)]
    expected = []
    for prompt, how in zip(PROMPTS, sampling, strict=True):
        *_, end = engine.generate(prompt, how, **options)
        assert isinstance(end, EndEvent)
        expected.append(end.completion.token_ids)
    found: dict[int, Completion] = {}
    with Scheduler(engine, max_rows=2) as scheduler:

        def ask(number: int) -> None:
            answer = scheduler.submit(PROMPTS[number], sampling[number], **options)
            found[number] = completion(answer)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert [found[number].token_ids for number in range(6)] == expected
    assert found[0].timings.first_token_s > 0


def test_the_most_likely_tokens_come_with_each_token(scheduler: Scheduler) -> None:
    sampling = SamplingParams(temperature=0.0, top_logprobs=3)
    first = next(scheduler.submit(PROMPTS[0], sampling, ignore_eos=True))
    assert isinstance(first, TokenEvent)
    assert len(first.top_logprobs) == 3
    assert first.top_logprobs[0] == (first.token_id, pytest.approx(first.logprob))
    logprobs = [logprob for _, logprob in first.top_logprobs]
    assert logprobs == sorted(logprobs, reverse=True)


@pytest.mark.parametrize(
    ("prompt", "options", "error"),
    [
        ([], {}, PromptError),
        ([1] * 64, {}, PromptError),
        ([320], {}, TokenizerError),
        ([1], {"max_tokens": 0}, PromptError),
        ([1], {"stop": [""]}, PromptError),
    ],
)
def test_bad_requests_are_refused_at_once(
    scheduler: Scheduler, prompt: list[int], options: dict[str, Any], error: type[Exception]
) -> None:
    running = scheduler.submit(PROMPTS[0], GREEDY, max_tokens=3, ignore_eos=True)
    with pytest.raises(error):
        scheduler.submit(prompt, GREEDY, **options)
    assert len(completion(running).token_ids) == 3


def test_a_cancelled_request_ends_and_frees_its_row(scheduler: Scheduler) -> None:
    endless = [scheduler.submit(prompt, GREEDY, ignore_eos=True) for prompt in PROMPTS[:2]]
    for answer in endless:
        next(answer)
    waiting = scheduler.submit(PROMPTS[2], GREEDY, max_tokens=2, ignore_eos=True)
    for answer in endless:
        answer.cancel()
        *_, end = answer
        assert isinstance(end, EndEvent)
        # It may have come to its end in the meantime.
        assert end.completion.stop_reason in {"cancel", "context"}
    assert len(completion(waiting).token_ids) == 2


def test_the_queue_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is held up in its first prefill until the queue is full."""
    reached, go_on = threading.Event(), threading.Event()
    original = Runner.prefill

    def slow(self: Runner, *arguments: Any) -> Any:
        reached.set()
        assert go_on.wait(WAIT_S)
        return original(self, *arguments)

    monkeypatch.setattr(Runner, "prefill", slow)
    with Scheduler(engine, max_rows=2, max_waiting=2) as scheduler:
        answers = [scheduler.submit(PROMPTS[0], GREEDY, max_tokens=2, ignore_eos=True)]
        assert reached.wait(WAIT_S)
        for prompt in PROMPTS[1:3]:
            answers.append(scheduler.submit(prompt, GREEDY, max_tokens=2, ignore_eos=True))
        with pytest.raises(BusyError, match="2 requests are waiting; expected fewer than 2"):
            scheduler.submit(PROMPTS[3], GREEDY)
        go_on.set()
        assert [len(completion(answer).token_ids) for answer in answers] == [2, 2, 2]


def test_closing_ends_what_runs_and_takes_no_more(engine: Engine) -> None:
    scheduler = Scheduler(engine, max_rows=2)
    answers = [scheduler.submit(prompt, GREEDY, ignore_eos=True) for prompt in PROMPTS]
    next(answers[0])
    scheduler.close()
    assert not scheduler._thread.is_alive()
    assert [isinstance(list(answer)[-1], EndEvent) for answer in answers] == [True] * 6
    assert not list(answers[0])
    with pytest.raises(BusyError, match="shutting down"):
        scheduler.submit(PROMPTS[0], GREEDY)
    scheduler.close()


def test_nobody_waits_for_ever_if_the_thread_fails(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the scheduler itself, not of a request."""
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    monkeypatch.setattr(engine.runner.__class__, "prepare_step", lambda *_, **__: 1 / 0)
    scheduler = Scheduler(engine, max_rows=2)
    assert completion(scheduler.submit(PROMPTS[0], GREEDY)).stop_reason == "cancel"
    scheduler.close()
    assert [failure.exc_type for failure in failures] == [ZeroDivisionError]
    with pytest.raises(BusyError):
        scheduler.submit(PROMPTS[0], GREEDY)
