"""AdamW and the learning-rate schedule, as far as this training needs them."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from tools.grok_mini.model import Params


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Hyperparameters (Loshchilov and Hutter, 2019), gradients clipped by their global norm."""

    peak_rate: float = 2e-3
    warmup_steps: int = 100
    decay_share: float = 0.5
    first_moment: float = 0.9
    second_moment: float = 0.98
    epsilon: float = 1e-9
    weight_decay: float = 0.1
    clip_norm: float = 1.0

    def rate(self, step: int, steps: int) -> float:
        """Linear warm-up, then constant, then a cosine to zero over the last ``decay_share``.

        Until the decay begins the rate does not depend on ``steps``, so the length of a run may be
        changed up to that point and the result is that of a run of the new length.
        """
        warm = min(1.0, (step + 1) / self.warmup_steps)
        decay_steps = self.decay_share * steps
        past = max(0.0, (step - (steps - decay_steps)) / decay_steps)
        return float(self.peak_rate * warm * 0.5 * (1.0 + np.cos(np.pi * min(past, 1.0))))


@dataclass(kw_only=True)
class OptimiserState:
    """Running first and second moments of the gradient, under the parameters' names."""

    first: Params
    second: Params

    @classmethod
    def zeros(cls, params: Params) -> "OptimiserState":
        """The state before the first step."""
        zeros = {name: jnp.zeros_like(value) for name, value in params.items()}
        return cls(first=zeros, second={name: jnp.zeros_like(v) for name, v in params.items()})


def decays(name: str) -> bool:
    """Whether weight decay applies: to matrices, not to norm scales or the embedding."""
    return name.endswith("/w")


@partial(jax.jit, static_argnums=(0,), donate_argnums=(1, 2, 3))
def _update(
    adam: AdamW, params: Params, first: Params, second: Params, grads: Params, rate: Array, t: Array
) -> tuple[Params, Params, Params, Array]:
    norm = jnp.sqrt(sum((jnp.sum(g * g) for g in grads.values()), jnp.zeros(())))
    scale = jnp.minimum(1.0, adam.clip_norm / (norm + 1e-12))
    b1, b2 = adam.first_moment, adam.second_moment
    for name, raw in grads.items():
        grad = raw * scale
        first[name] = b1 * first[name] + (1 - b1) * grad
        second[name] = b2 * second[name] + (1 - b2) * grad * grad
        change = (first[name] / (1 - b1**t)) / (jnp.sqrt(second[name] / (1 - b2**t)) + adam.epsilon)
        if decays(name):
            change = change + adam.weight_decay * params[name]
        params[name] = params[name] - rate * change
    return params, first, second, norm


def apply_update(
    adam: AdamW, params: Params, state: OptimiserState, grads: Params, step: int, steps: int
) -> tuple[Params, OptimiserState, float]:
    """One step; returns the new parameters and state, and the gradient's norm before clipping."""
    rate, t = jnp.float32(adam.rate(step, steps)), jnp.float32(step + 1)
    params, first, second, norm = _update(adam, params, state.first, state.second, grads, rate, t)
    return params, OptimiserState(first=first, second=second), float(norm)
