"""The package's runtime computes what training and evaluation computed, on the shipped weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from grokdist_runtime.engine import Engine
from tools.grok_mini.evaluate import SHIPPED
from tools.grok_mini.export import read_checkpoint
from tools.grok_mini.model import logits_and_balance
from tools.grok_mini.tokenizer import load_tokenizer

TEXT = "HAMLET\nTo be, or not to be, that is the question:\nWhether 'tis nobler in the mind"


def test_logits_of_the_runtime_and_of_the_training_model() -> None:
    tokens = load_tokenizer(SHIPPED / "tokenizer.model").encode(TEXT)
    config, params = read_checkpoint(SHIPPED)
    forward = jax.jit(partial(logits_and_balance, config=config))
    expected = np.asarray(forward(params, jnp.asarray([tokens]))[0][0])
    engine = Engine.load(SHIPPED, mesh="1x1")
    assert engine.encode(TEXT) == tokens
    found = engine.score(tokens)
    assert np.abs(found - expected).max() < 1e-3 * expected.std()
