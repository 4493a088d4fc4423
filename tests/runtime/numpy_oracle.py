"""The forward pass in plain NumPy, straight from the formulas: what the JAX runtime must equal.

Dense experts, no cache, no blocks, no sharding, one sequence; it shares no line with the runtime.
Weights come as a mapping from tensor name to an array or to an ``(int8, scales)`` pair.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from grokdist_runtime.config import ModelConfig

Weight = np.ndarray | tuple[np.ndarray, np.ndarray]


def dequantise(weight: Weight, dtype: type) -> np.ndarray:
    """``[..., K, N]`` int8 times ``[..., G, N]`` scales, each scale over ``K / G`` rows."""
    if not isinstance(weight, tuple):
        return weight.astype(dtype)
    values, scales = weight[0].astype(dtype), weight[1].astype(dtype)
    rows = values.shape[-2] // scales.shape[-2]
    return values * np.repeat(scales, rows, axis=-2)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


class Oracle:
    """One checkpoint, and the logits it gives."""

    def __init__(
        self,
        config: ModelConfig,
        weights: Mapping[str, Weight],
        dtype: type = np.float64,
        *,
        rounds_cache: bool = False,
    ) -> None:
        self.config = config
        self.rounds_cache = rounds_cache
        self.dtype = dtype
        self.weights = {name: dequantise(weight, dtype) for name, weight in weights.items()}

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """``[T]`` token ids to ``[T, vocab]`` logits."""
        c = self.config
        embedding = self.weights["language_model/in_out_embed/embeddings"]
        h = embedding[tokens] * c.embedding_multiplier_scale
        for layer in range(c.num_layers):
            at = f"transformer/decoder_layer_{layer}/"
            a = self._attention(at + "multi_head_attention/", self._norm(h, at, ""), tokens)
            h = h + self._norm(a, at, "_1")
            m = self._experts(at, self._norm(h, at, "_2"))
            h = h + self._norm(m, at, "_3")
        h = self._norm(h, "language_model/", "")
        return h @ embedding.T * c.output_multiplier_scale

    def _norm(self, x: np.ndarray, at: str, suffix: str) -> np.ndarray:
        scale = self.weights[f"{at}rms_norm{suffix}/scale"]
        return scale * x / np.sqrt(np.mean(x**2, -1, keepdims=True) + self.config.rms_eps)

    def _rotate(self, x: np.ndarray) -> np.ndarray:
        """``[T, heads, key]``, rotated by its position, half against half."""
        half = x.shape[-1] // 2
        frequency = self.config.rope_base ** -(np.arange(half) / half)
        angle = np.arange(len(x))[:, None, None] * frequency
        sin, cos = np.sin(angle), np.cos(angle)
        first, second = x[..., :half], x[..., half:]
        out = np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
        return out.astype(self.dtype)

    def _cached(self, x: np.ndarray) -> np.ndarray:
        """``[T, heads, key]`` keys or values as the cache gives them back."""
        if not self.rounds_cache:
            return x
        scale = np.abs(x).max(-1, keepdims=True) / 127
        return np.round(x / scale) * scale

    def _attention(self, at: str, x: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        c, n = self.config, len(x)
        q = self._rotate((x @ self.weights[at + "query/w"]).reshape(n, c.num_q_heads, c.key_size))
        k = self._rotate((x @ self.weights[at + "key/w"]).reshape(n, c.num_kv_heads, c.key_size))
        v = (x @ self.weights[at + "value/w"]).reshape(n, c.num_kv_heads, c.key_size)
        k, v = self._cached(k), self._cached(v)
        seen = np.tril(np.ones((n, n), bool)) & (tokens != c.pad_token)[None, :]
        heads = []
        for head in range(c.num_q_heads):
            group = head // (c.num_q_heads // c.num_kv_heads)
            logits = q[:, head] @ k[:, group].T * c.attn_output_multiplier
            logits = c.attn_logit_cap * np.tanh(logits / c.attn_logit_cap)
            heads.append(softmax(np.where(seen, logits, -1e30)) @ v[:, group])
        return np.concatenate(heads, -1) @ self.weights[at + "linear/w"]

    def _experts(self, at: str, x: np.ndarray) -> np.ndarray:
        probabilities = softmax(x @ self.weights[at + "router/w"])
        chosen = np.argsort(-probabilities, -1, kind="stable")[
            :, : self.config.num_selected_experts
        ]
        gate = np.zeros_like(probabilities)
        np.put_along_axis(gate, chosen, np.take_along_axis(probabilities, chosen, -1), -1)
        out = np.zeros_like(x)
        for expert in range(self.config.num_experts):
            hidden = gelu(x @ self.weights[at + "moe/linear/w"][expert])
            hidden = hidden * (x @ self.weights[at + "moe/linear_v/w"][expert])
            out = out + gate[:, expert, None] * (
                hidden @ self.weights[at + "moe/linear_1/w"][expert]
            )
        return out
