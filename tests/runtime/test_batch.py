"""Many texts in one cache against each of them alone: joining, leaving, reuse, errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grokdist_runtime import generation as generation_module
from grokdist_runtime import runner as runner_module
from grokdist_runtime.batch import Batch
from grokdist_runtime.engine import Engine
from grokdist_runtime.events import Completion, EndEvent, Event, TokenEvent
from grokdist_runtime.generation import Generation
from grokdist_runtime.kv_cache import cache_bytes
from grokdist_runtime.runner import Runner
from grokdist_runtime.sampling import SamplingParams
from tests.runtime.conftest import Model

GREEDY = SamplingParams.greedy()
PLENTY = 1 << 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ask:
    """One request."""

    prompt: tuple[int, ...]
    sampling: SamplingParams = GREEDY
    max_tokens: int = 8
    stop: tuple[str, ...] = ()
    ignore_eos: bool = True

    def begin(self, engine: Engine) -> Generation:
        return engine.begin(
            self.prompt,
            self.sampling,
            max_tokens=self.max_tokens,
            stop=self.stop,
            ignore_eos=self.ignore_eos,
        )


class Client:
    """Takes what comes for one request."""

    def __init__(self, batch: Batch, engine: Engine, ask: Ask) -> None:
        self.generation = ask.begin(engine)
        self.events: list[Event | Exception] = []
        batch.add(self.generation, self.events.append)

    @property
    def tokens(self) -> list[TokenEvent]:
        return [event for event in self.events if isinstance(event, TokenEvent)]

    @property
    def completion(self) -> Completion:
        end = self.events[-1]
        assert isinstance(end, EndEvent)
        assert len(self.events) == len(self.tokens) + 1
        assert [event.token_id for event in self.tokens] == list(end.completion.token_ids)
        text = "".join(event.text for event in self.tokens) + end.text
        assert text == end.completion.text
        return end.completion


@pytest.fixture(scope="module", autouse=True)
def _small_chunks() -> Iterator[None]:
    """So that prompts have several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module, "MAX_CHUNK", 32)
        yield


@pytest.fixture(scope="module")
def wide(make_model: Callable[..., Model], tokenizer_model: bytes) -> Engine:
    """A context of 256 tokens, which is two buckets."""
    directory = make_model(vocab_size=320, sequence_len=256).directory
    (directory / "tokenizer.model").write_bytes(tokenizer_model)
    return Engine.load(directory, mesh="1x1")


_ALONE: dict[tuple[int, Ask], Completion] = {}


def alone(engine: Engine, ask: Ask) -> Completion:
    key = id(engine), ask
    if key not in _ALONE:
        *_, end = engine.generate(
            ask.prompt,
            ask.sampling,
            max_tokens=ask.max_tokens,
            stop=ask.stop,
            ignore_eos=ask.ignore_eos,
        )
        assert isinstance(end, EndEvent)
        _ALONE[key] = end.completion
    return _ALONE[key]


def assert_as_alone(engine: Engine, ask: Ask, found: Completion) -> None:
    expected = alone(engine, ask)
    assert found.token_ids == expected.token_ids
    assert found.text == expected.text
    assert found.stop_reason == expected.stop_reason
    assert np.allclose(found.logprobs, expected.logprobs, atol=1e-4)


def new_batch(engine: Engine, *, max_rows: int = 4, prefix_bytes: int = 0) -> Batch:
    return Batch(engine.runner, max_rows=max_rows, prefix_bytes=prefix_bytes)


def run(batch: Batch, turns: int = 1000) -> None:
    for _ in range(turns):
        if not len(batch):
            return
        batch.turn()
    assert not len(batch)


def prompt(seed: int, length: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(seed).integers(3, 320, length).tolist())


def asks(count: int, seed: int = 0) -> list[Ask]:
    """Requests of all kinds."""
    rng = np.random.default_rng(seed)
    kinds: list[dict[str, Any]] = [
        {"temperature": 0.0},
        {"temperature": 1.5},
        {"temperature": 3.0, "top_k": 20},
        {"temperature": 2.0, "top_p": 0.8, "min_p": 0.01},
    ]
    return [
        Ask(
            prompt=prompt(int(rng.integers(1 << 30)), int(rng.integers(1, 40))),
            sampling=SamplingParams(**kinds[number % 4], seed=int(rng.integers(1 << 30))),
            max_tokens=int(rng.integers(1, 20)),
            ignore_eos=number % 3 > 0,
        )
        for number in range(count)
    ]


def with_stop(engine: Engine, ask: Ask) -> Ask:
    """One that a stop string ends in the middle of its text."""
    text = alone(engine, dataclasses.replace(ask, max_tokens=20, ignore_eos=True)).text
    assert text is not None
    middle = len(text) // 2
    return dataclasses.replace(ask, max_tokens=20, stop=(text[middle : middle + 2], "never"))


def test_texts_that_come_and_go_are_what_they_are_alone(wide: Engine) -> None:
    """Twenty requests that arrive at any time, over at most four rows."""
    rng = np.random.default_rng(1)
    wanted = [ask if number % 5 else with_stop(wide, ask) for number, ask in enumerate(asks(20))]
    batch = new_batch(wide, prefix_bytes=PLENTY)
    clients, rows = [], set()
    for ask in wanted:
        clients.append(Client(batch, wide, ask))
        for _ in range(int(rng.integers(0, 6))):
            batch.turn()
            rows.add(batch.rows)
    run(batch)
    assert rows >= {1, 2, 4}
    for ask, client in zip(wanted, clients, strict=True):
        assert_as_alone(wide, ask, client.completion)
    reasons = {client.completion.stop_reason for client in clients}
    assert reasons >= {"length", "stop"}


FEW = asks(6, seed=7)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "cancel", "turn", "turn"]), st.integers(0, 5)),
        max_size=40,
    )
)
def test_any_schedule(wide: Engine, steps: list[tuple[str, int]]) -> None:
    """Each request ends once, with its own text, or with the beginning of that if cancelled."""
    batch = new_batch(wide, prefix_bytes=PLENTY)
    clients: list[tuple[Ask, Client]] = []
    for action, number in steps:
        if action == "ask":
            clients.append((FEW[number], Client(batch, wide, FEW[number])))
        elif action == "cancel" and clients:
            clients[number % len(clients)][1].generation.cancelled = True
        else:
            batch.turn()
    run(batch)
    assert batch.rows == 0
    for ask, client in clients:
        if client.completion.stop_reason == "cancel":
            length = len(client.completion.token_ids)
            assert client.completion.token_ids == alone(wide, ask).token_ids[:length]
        else:
            assert_as_alone(wide, ask, client.completion)


def test_a_text_is_its_seeds_whoever_else_is_there(wide: Engine) -> None:
    mine = Ask(prompt=prompt(1, 10), sampling=SamplingParams(temperature=2.0, seed=11))
    same_prompt = [
        dataclasses.replace(mine, sampling=SamplingParams(temperature=2.0, seed=seed))
        for seed in (11, 12)
    ]
    batch = new_batch(wide)
    clients = [Client(batch, wide, ask) for ask in (*same_prompt, mine)]
    run(batch)
    first, other, again = (client.completion.token_ids for client in clients)
    assert first == again != other


def test_a_long_prompt_does_not_hold_up_the_others(wide: Engine) -> None:
    """While its chunks are taken in, the running text gets a token a turn."""
    batch = new_batch(wide)
    running = Client(batch, wide, Ask(prompt=prompt(2, 5), max_tokens=40))
    for _ in range(3):
        batch.turn()
    long = Client(batch, wide, Ask(prompt=prompt(3, 110), max_tokens=2))
    before = len(running.tokens)
    turns = 0
    while not long.events:
        batch.turn()
        turns += 1
    assert turns == 4
    assert len(running.tokens) >= before + turns - 1
    run(batch)
    assert_as_alone(wide, Ask(prompt=prompt(2, 5), max_tokens=40), running.completion)


def test_the_cache_grows_under_running_texts(wide: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_module, "FIRST_BUCKET", 1)
    wanted = [
        Ask(prompt=prompt(4, 100), max_tokens=60, sampling=SamplingParams(seed=3)),
        Ask(prompt=prompt(5, 20), max_tokens=70),
    ]
    batch = new_batch(wide)
    clients = [Client(batch, wide, ask) for ask in wanted]
    sizes = []
    while len(batch):
        batch.turn()
        if batch._cache is not None:
            sizes.append(batch._cache.visible.shape[1])
    assert sizes[0] == 128
    assert set(sizes) == {128, 256}
    for ask, client in zip(wanted, clients, strict=True):
        assert_as_alone(wide, ask, client.completion)


def test_a_full_context_ends_a_text_and_leaves_its_row_whole(wide: Engine) -> None:
    """One row is full to its last place while the other goes on; what is kept of it is right."""
    full = Ask(prompt=prompt(6, 120), max_tokens=9, sampling=GREEDY)  # 128 written, no more
    other = Ask(prompt=prompt(7, 30), max_tokens=30)
    batch = new_batch(wide, prefix_bytes=PLENTY)
    clients = [Client(batch, wide, ask) for ask in (full, other)]
    run(batch)
    assert_as_alone(wide, full, clients[0].completion)
    follow_up = Ask(prompt=full.prompt + clients[0].completion.token_ids + prompt(8, 8))
    client = Client(batch, wide, follow_up)
    run(batch)
    assert client.completion.reused_tokens == 96
    assert_as_alone(wide, follow_up, client.completion)


def test_rows_move_together_and_the_cache_shrinks(wide: Engine) -> None:
    wanted = [Ask(prompt=prompt(seed, 6), max_tokens=3) for seed in range(3)]
    wanted.append(Ask(prompt=prompt(9, 6), max_tokens=30))
    batch = new_batch(wide)
    clients = [Client(batch, wide, ask) for ask in wanted]
    rows = []
    while len(batch):
        batch.turn()
        rows.append(batch.rows)
    assert max(rows) >= 2
    assert rows[-2:] == [1, 0]
    for ask, client in zip(wanted, clients, strict=True):
        assert_as_alone(wide, ask, client.completion)


def test_a_cancelled_text_ends_wherever_it_is(wide: Engine) -> None:
    """In a row, with a prompt half taken in, and waiting."""
    long = Ask(prompt=prompt(10, 110), max_tokens=5)
    stays = Ask(prompt=prompt(11, 5), max_tokens=25)
    batch = new_batch(wide)
    kept, in_row, joining, waiting = (
        Client(batch, wide, ask) for ask in (stays, stays, long, long)
    )
    while not in_row.tokens:
        batch.turn()
    batch.turn()
    for client in (in_row, joining, waiting):
        client.generation.cancelled = True
    batch.turn()
    for client in (in_row, joining, waiting):
        assert client.completion.stop_reason == "cancel"
    assert not joining.tokens
    assert len(batch) == 1
    run(batch)
    assert_as_alone(wide, stays, kept.completion)


def test_closing_ends_everything(wide: Engine) -> None:
    batch = new_batch(wide)
    clients = [Client(batch, wide, ask) for ask in FEW]
    for _ in range(3):
        batch.turn()
    batch.close()
    assert len(batch) == 0
    assert all(isinstance(client.events[-1], EndEvent) for client in clients)


# Beginnings that are there already.


@pytest.fixture
def prefilled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts of the tokens that prefill computes."""
    counts: list[int] = []
    original = Runner.prefill

    def counting(self: Runner, cache: Any, tokens: Any, count: Sequence[int]) -> Any:
        counts.extend(count)
        return original(self, cache, tokens, count)

    monkeypatch.setattr(Runner, "prefill", counting)
    return counts


def complete(batch: Batch, engine: Engine, ask: Ask) -> Completion:
    client = Client(batch, engine, ask)
    run(batch)
    return client.completion


def test_a_common_beginning_is_computed_once(wide: Engine, prefilled: list[int]) -> None:
    start = prompt(12, 100)
    wanted = [Ask(prompt=start + prompt(seed, 10)) for seed in (13, 14)]
    for ask in wanted:
        alone(wide, ask)
    prefilled.clear()
    batch = new_batch(wide, prefix_bytes=PLENTY)
    clients = [Client(batch, wide, ask) for ask in wanted]  # the first still runs
    run(batch)
    assert sum(prefilled) == 110 + (110 - 96)
    assert [client.completion.reused_tokens for client in clients] == [0, 96]
    for ask, client in zip(wanted, clients, strict=True):
        assert_as_alone(wide, ask, client.completion)


def test_a_text_goes_on_from_its_own_answer(wide: Engine, prefilled: list[int]) -> None:
    batch = new_batch(wide, prefix_bytes=PLENTY)
    first = Ask(prompt=prompt(15, 40), max_tokens=60, sampling=SamplingParams(seed=1))
    answer = complete(batch, wide, first)
    second = Ask(prompt=first.prompt + answer.token_ids + prompt(16, 4))
    alone(wide, second)
    prefilled.clear()
    found = complete(batch, wide, second)
    assert found.reused_tokens == 96  # whole chunks of 32 of the 98 that are kept
    assert sum(prefilled) == 104 - 96
    assert_as_alone(wide, second, found)


def test_the_last_token_of_a_prompt_is_always_computed(wide: Engine, prefilled: list[int]) -> None:
    ask = Ask(prompt=prompt(17, 64))
    batch = new_batch(wide, prefix_bytes=PLENTY)
    first, again = complete(batch, wide, ask), complete(batch, wide, ask)
    assert again.reused_tokens == 32
    assert sum(prefilled) == 64 + 32
    assert again.token_ids == first.token_ids


def test_what_is_kept_stays_within_its_bytes(wide: Engine, prefilled: list[int]) -> None:
    row = cache_bytes(wide.runner.spec, 1, 128)
    batch = new_batch(wide, prefix_bytes=2 * row)
    wanted = [Ask(prompt=prompt(seed, 64)) for seed in (18, 19, 20)]
    for ask in wanted:
        complete(batch, wide, ask)
    assert batch.prefixes.bytes <= 2 * row
    assert complete(batch, wide, wanted[2]).reused_tokens == 32
    assert complete(batch, wide, wanted[0]).reused_tokens == 0
    without = new_batch(wide, prefix_bytes=row - 1)
    assert [complete(without, wide, wanted[0]).reused_tokens for _ in range(2)] == [0, 0]


# Errors.


def test_an_error_in_one_prompt_is_its_own(wide: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    good = [Ask(prompt=prompt(seed, 8), max_tokens=12) for seed in (21, 22)]
    bad = Ask(prompt=(7, 7, 7))
    original = Runner.prefill

    def failing(self: Runner, cache: Any, tokens: Any, count: Any) -> Any:
        if tokens[0, 0] == 7:
            raise MemoryError("no room")
        return original(self, cache, tokens, count)

    for ask in good:
        alone(wide, ask)
    monkeypatch.setattr(Runner, "prefill", failing)
    batch = new_batch(wide)
    first, broken, second = (Client(batch, wide, ask) for ask in (good[0], bad, good[1]))
    run(batch)
    assert [type(event) for event in broken.events] == [MemoryError]
    assert_as_alone(wide, good[0], first.completion)
    assert_as_alone(wide, good[1], second.completion)


def test_an_error_in_a_step_ends_those_in_rows_and_no_others(
    wide: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [Ask(prompt=prompt(seed, 8), max_tokens=12) for seed in (21, 22, 23)]
    batch = new_batch(wide, max_rows=2)
    clients = [Client(batch, wide, ask) for ask in wanted]
    while not clients[1].tokens:
        batch.turn()
    with monkeypatch.context() as patch:
        patch.setattr(Runner, "step", lambda *_: 1 / 0)
        batch.turn()
    for client in clients[:2]:
        assert isinstance(client.events[-1], ZeroDivisionError)
    run(batch)
    assert_as_alone(wide, wanted[2], clients[2].completion)


# Another mesh, another cache.


def test_rows_that_are_split_and_rounded(
    make_model: Callable[..., Model], tokenizer_model: bytes
) -> None:
    """Two copies of the model with one row each, and a cache with scales beside the keys."""
    directory = make_model(vocab_size=320, num_layers=1, sequence_len=128).directory
    (directory / "tokenizer.model").write_bytes(tokenizer_model)
    engine = Engine.load(directory, mesh="2x2", kv_cache="int8")
    wanted = [
        Ask(prompt=prompt(24, 40), max_tokens=4),
        Ask(prompt=(*prompt(24, 38), 5, 6), max_tokens=9, sampling=SamplingParams(seed=4)),
        Ask(prompt=prompt(25, 9), max_tokens=6),
    ]
    batch = new_batch(engine, max_rows=2, prefix_bytes=PLENTY)
    clients = [Client(batch, engine, ask) for ask in wanted]
    run(batch)
    assert clients[1].completion.reused_tokens == 32
    for ask, client in zip(wanted, clients, strict=True):
        assert_as_alone(engine, ask, client.completion)
