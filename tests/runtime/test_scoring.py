"""Scoring chunk by chunk gives what scoring at once gives, also beside texts being generated."""

from __future__ import annotations

from queue import SimpleQueue

import numpy as np
import pytest

from grokdist_runtime.engine import Engine, log_probabilities
from grokdist_runtime.errors import ClosedError, PromptError, TokenizerError
from grokdist_runtime.runner import MIN_CHUNK
from grokdist_runtime.sampling import SamplingParams
from grokdist_runtime.scheduler import Scheduler
from grokdist_runtime.scoring import Scoring

WAIT_S = 120.0
TEXT = [(7 * number + 5) % 300 for number in range(MIN_CHUNK + 8)]


def test_it_equals_the_scores_of_the_whole(engine: Engine) -> None:
    logits = engine.score(TEXT)
    scoring = engine.begin_scoring(TEXT, top=3)
    while not scoring.advance():
        pass
    first, *later = scoring.scored
    assert (first.token_id, first.logprob, first.top_logprobs) == (TEXT[0], None, ())
    assert [token.token_id for token in later] == TEXT[1:]
    expected = log_probabilities(logits, TEXT)
    np.testing.assert_allclose([token.logprob for token in later], expected, atol=1e-4)
    for row, token in zip(logits, later, strict=False):
        best = np.argsort(-row, kind="stable")[:3]
        assert [number for number, _ in token.top_logprobs] == best.tolist()
    assert later[0].top_logprobs[0][1] >= later[0].top_logprobs[1][1]


def test_the_scheduler_scores_beside_what_it_generates(engine: Engine) -> None:
    alone = list(engine.generate([40, 50, 60], SamplingParams.greedy(), max_tokens=8))[-1]
    done: SimpleQueue[Scoring | Exception] = SimpleQueue()
    with Scheduler(engine, max_rows=2) as scheduler:
        answer = scheduler.submit([40, 50, 60], SamplingParams.greedy(), max_tokens=8)
        scheduler.add_scoring(engine.begin_scoring(TEXT), done.put)
        given_up = engine.begin_scoring(TEXT)
        given_up.cancelled = True
        scheduler.add_scoring(given_up, done.put)
        scored = done.get(timeout=WAIT_S)
        assert isinstance(scored, Scoring)
        assert len(scored.scored) == len(TEXT)
        assert done.get(timeout=WAIT_S) is given_up
        assert len(given_up.scored) == 1
        end = list(answer)[-1]
        assert end.completion.token_ids == alone.completion.token_ids  # type: ignore[union-attr]
    with pytest.raises(ClosedError):
        scheduler.add_scoring(engine.begin_scoring(TEXT), done.put)


@pytest.mark.parametrize(
    ("tokens", "error"), [([], PromptError), ([1] * 65, PromptError), ([320], TokenizerError)]
)
def test_what_cannot_be_scored_is_refused(
    engine: Engine, tokens: list[int], error: type[Exception]
) -> None:
    with pytest.raises(error):
        engine.begin_scoring(tokens)
