"""Generating and scoring through the engine: events, reasons to stop, refusals."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from grokdist_runtime.engine import Engine, log_probabilities
from grokdist_runtime.errors import (
    CheckpointError,
    ConfigError,
    DeviceError,
    PromptError,
    TokenizerError,
    UnsafeShardError,
)
from grokdist_runtime.events import Completion, EndEvent, TokenEvent
from grokdist_runtime.runner import Runner
from grokdist_runtime.sampling import SamplingParams
from tests.runtime.conftest import Model

GREEDY = SamplingParams.greedy()
WARM = SamplingParams(temperature=3.0, seed=5)
PROMPT = [40, 50, 60]


def generate(
    engine: Engine, sampling: SamplingParams = WARM, **options: Any
) -> tuple[list[TokenEvent], str, Completion]:
    """Token events, all texts joined, and the completion."""
    events = list(engine.generate(PROMPT, sampling, **options))
    end = events.pop()
    assert isinstance(end, EndEvent)
    tokens = [event for event in events if isinstance(event, TokenEvent)]
    assert len(tokens) == len(events)
    text = "".join(event.text for event in tokens) + end.text
    assert [event.token_id for event in tokens] == list(end.completion.token_ids)
    assert [event.logprob for event in tokens] == list(end.completion.logprobs)
    assert end.completion.text == text
    return tokens, text, end.completion


def test_length_ends_a_text_and_everything_is_reported(engine: Engine) -> None:
    tokens, text, completion = generate(engine, max_tokens=12, ignore_eos=True)
    assert completion.stop_reason == "length"
    assert completion.prompt_tokens == 3
    assert len(tokens) == 12
    assert engine.tokenizer is not None
    assert text == engine.tokenizer.decode(completion.token_ids)
    timings = completion.timings
    assert timings.load_s > 0
    assert timings.first_token_s > 0
    assert timings.prefill_tokens_per_s > 0
    assert timings.decode_tokens_per_s is not None
    json.dumps(dataclasses.asdict(completion))


def test_greedy_tokens_are_the_oracles(engine: Engine, make_model: Callable[..., Model]) -> None:
    oracle = make_model(vocab_size=320).oracle
    _, _, completion = generate(engine, GREEDY, max_tokens=10, ignore_eos=True)
    text = list(PROMPT)
    for token, logprob in zip(completion.token_ids, completion.logprobs, strict=True):
        logits = oracle.logits(np.array(text))[-1]
        assert token == logits.argmax()
        assert logprob == pytest.approx(logits.max() - np.log(np.exp(logits).sum()), abs=1e-4)
        text.append(token)


def test_the_same_seed_gives_the_same_text(engine: Engine) -> None:
    first, again, other = (
        generate(engine, dataclasses.replace(WARM, seed=seed), max_tokens=12)[2].token_ids
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_the_context_ends_a_text(engine: Engine) -> None:
    _, _, completion = generate(engine, ignore_eos=True)
    assert completion.stop_reason == "context"
    assert len(completion.token_ids) == engine.config.sequence_len - len(PROMPT)


def test_an_end_of_text_stops_and_is_not_shown(engine: Engine) -> None:
    free = generate(engine, max_tokens=12, ignore_eos=True)[2].token_ids
    place = next(i for i, token in enumerate(free) if i and token not in free[:i])
    ended = Engine(engine.runner, engine.tokenizer)
    ended.config = dataclasses.replace(engine.config, eos_token=free[place])
    _, _, completion = generate(ended, max_tokens=12)
    assert completion.stop_reason == "eos"
    assert completion.token_ids == free[:place]
    assert generate(ended, max_tokens=12, ignore_eos=True)[2].token_ids == free


def test_a_stop_string_cuts_the_text_even_across_tokens(engine: Engine) -> None:
    tokens, text, _ = generate(engine, max_tokens=30, ignore_eos=True)
    edge = len("".join(event.text for event in tokens[:10]))
    stop = text[edge - 2 : edge + 2]
    assert text.find(stop) == edge - 2
    _, cut, completion = generate(engine, max_tokens=30, ignore_eos=True, stop=["never", stop])
    assert completion.stop_reason == "stop"
    assert cut == text[: edge - 2]


def test_closing_the_iterator_early_leaves_the_engine_usable(engine: Engine) -> None:
    events = engine.generate(PROMPT, WARM)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert len(generate(engine, max_tokens=2, ignore_eos=True)[0]) == 2


def test_encode_adds_nothing(engine: Engine) -> None:
    assert engine.tokenizer is not None
    assert engine.encode("to be") == engine.tokenizer.encode("to be")
    assert engine.encode("") == []


def test_score_gives_the_oracles_logits(engine: Engine, make_model: Callable[..., Model]) -> None:
    oracle = make_model(vocab_size=320).oracle
    tokens = np.random.default_rng(3).integers(3, 320, 50)
    logits = engine.score(tokens)
    expected = oracle.logits(tokens)
    assert logits.dtype == np.float32
    assert np.abs(logits - expected).max() <= 1e-3 * expected.std()
    probabilities = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    right = np.log(probabilities[np.arange(49), tokens[1:]])
    assert np.allclose(log_probabilities(logits, tokens), right, atol=1e-4)


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ([], PromptError, "empty"),
        ([1.5], PromptError, "integers"),
        ([[1, 2]], PromptError, "one dimension"),
        ([1] * 64, PromptError, "fewer than the context of 64"),
        ([1] * 65, PromptError, "at most the context of 64"),
        ([320], TokenizerError, "token id 320 .* expected 0 to 319"),
        ([-1], TokenizerError, "token id -1"),
        ([2**63], TokenizerError, "token id"),
    ],
)
def test_bad_prompts_are_refused_at_once(
    engine: Engine, prompt: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        engine.generate(prompt, GREEDY)


@pytest.mark.parametrize("max_tokens", [0, -1, True])
def test_a_bad_length_is_refused(engine: Engine, max_tokens: int) -> None:
    with pytest.raises(PromptError, match="max_tokens"):
        engine.generate(PROMPT, GREEDY, max_tokens=max_tokens)


def test_without_a_tokenizer_there_are_ids_and_no_text(engine: Engine) -> None:
    silent = Engine(engine.runner, None)
    *_, end = silent.generate(PROMPT, GREEDY, max_tokens=2, ignore_eos=True)
    assert isinstance(end, EndEvent)
    assert end.completion.text is None
    assert len(end.completion.token_ids) == 2
    with pytest.raises(TokenizerError, match="no tokenizer"):
        silent.encode("to be")
    with pytest.raises(TokenizerError, match="stop strings"):
        silent.generate(PROMPT, GREEDY, stop=["x"])


def test_a_text_far_beyond_the_context_is_refused_before_it_is_encoded(engine: Engine) -> None:
    with pytest.raises(PromptError, match="characters"):
        engine.encode("x" * 20_000)


@pytest.fixture
def directory(make_model: Callable[..., Model], tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(make_model().directory, copy)
    return copy


def test_load_says_what_is_wrong_with_a_directory(directory: Path, tokenizer_model: bytes) -> None:
    with pytest.raises(DeviceError, match="9x9 needs 81 devices"):
        Engine.load(directory, mesh="9x9")
    with pytest.raises(ConfigError, match="float8"):
        Engine.load(directory, dtype="float8")
    (directory / "tokenizer.model").write_bytes(b"nonsense")
    with pytest.raises(TokenizerError):
        Engine.load(directory, mesh="1x1")
    (directory / "tokenizer.model").write_bytes(tokenizer_model)
    with pytest.raises(TokenizerError, match=r"320 pieces; expected at most .* 96"):
        Engine.load(directory, mesh="1x1")
    shard = directory / "ckpt-0" / "tensor00003_000"
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(UnsafeShardError):
        Engine.load(directory, mesh="1x1")
    shard.unlink()
    with pytest.raises(CheckpointError, match="tensor00003_000"):
        Engine.load(directory, mesh="1x1")
    (directory / "config.json").unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        Engine.load(directory)


def test_a_token_goes_into_the_next_step_without_the_host(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to the devices from step to step, and each step uses up its cache."""
    steps: list[Any] = []
    original = Runner.step

    def watched(self: Runner, cache: Any, tokens: Any, *rest: Any) -> Any:
        with jax.transfer_guard("disallow"):
            sampled, new = original(self, cache, tokens, *rest)
        steps.append((cache, tokens))
        return sampled, new

    generate(engine, max_tokens=2, ignore_eos=True)  # compiled
    monkeypatch.setattr(Runner, "step", watched)
    generate(engine, max_tokens=6, ignore_eos=True)
    assert len(steps) == 5
    assert all(isinstance(tokens, jax.Array) for _, tokens in steps)
    assert all(leaf.is_deleted() for cache, _ in steps for leaf in jax.tree.leaves(cache))
