"""A model ready to use: load a directory, generate a text as a stream of events, score a text.

Checks what callers ask for; the work is in ``runner`` and ``model``. Whether the files are the
right ones (digests, signatures, licence) is not looked at here.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.checkpoint.safetensors_checkpoint import holds_safetensors, open_safetensors
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.devices import use_compilation_cache
from grokdist_runtime.errors import PromptError, TokenizerError
from grokdist_runtime.events import Event
from grokdist_runtime.generation import Generation
from grokdist_runtime.kernels import choose
from grokdist_runtime.loader import OnBytes, ignore, load_weights
from grokdist_runtime.mesh_shape import AUTO
from grokdist_runtime.prefill import Prefill
from grokdist_runtime.runner import Runner, chunk_size
from grokdist_runtime.sampling import SamplingParams, SamplingState
from grokdist_runtime.scoring import Scoring
from grokdist_runtime.sharding import default_mesh, make_mesh
from grokdist_runtime.spec import ModelSpec
from grokdist_runtime.tokenizer import TOKENIZER_FILE, Tokenizer

CONFIG_FILE = "config.json"
"""Name of the configuration in a model directory."""

_MAX_CHARACTERS_PER_TOKEN = 256

FloatArray = np.ndarray[Any, np.dtype[np.float32]]
IntArray = np.ndarray[Any, np.dtype[np.int32]]
Tokens = Sequence[int] | np.ndarray[Any, Any]


class Engine:
    """One loaded model.

    Attributes:
        config: Its sizes; ``compute_dtype`` is the one in effect.
        tokenizer: ``None`` if the directory holds none.
        runner: Its compiled programs.
        load_s: Seconds it took to load.
        plain_because: Why no faster kernels than XLA's are used; empty where some are.
    """

    def __init__(
        self,
        runner: Runner,
        tokenizer: Tokenizer | None,
        *,
        load_s: float = 0.0,
        plain_because: str = "",
    ) -> None:
        self.runner = runner
        self.config = runner.spec.config
        self.tokenizer = tokenizer
        self.load_s = load_s
        self.plain_because = plain_because
        if tokenizer is not None and tokenizer.vocab_size > self.config.vocab_size:
            raise TokenizerError(
                f"the tokenizer has {tokenizer.vocab_size} pieces; "
                f"expected at most the model's vocab_size {self.config.vocab_size}"
            )

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        config: ModelConfig | None = None,
        mesh: str | None = None,
        dtype: str | None = None,
        kv_cache: str | None = None,
        kernels: str | None = None,
        requantise: int | None = None,
        compile_cache: Path | None = None,
        on_bytes: OnBytes = ignore,
    ) -> Engine:
        """Loads ``config.json``, ``ckpt-0/`` or safetensors, and ``tokenizer.model`` if present.

        Args:
            directory: The model directory.
            config: The architecture, for a directory without ``config.json``; it wins over one.
            mesh: ``"DxM"`` or ``"DxMxE"``; by default, and for ``auto``, what ``auto_mesh`` takes.
            dtype: ``float32`` or ``bfloat16``; by default what the configuration says.
            kv_cache: ``int8`` to round cached keys and values; by default they stay as computed.
            kernels: ``plain``, ``native`` or ``pallas``; by default the fastest that works here.
            requantise: Round the experts to int4, at most so many rows to a scale; by default they
                stay as they are on disk.
            compile_cache: A private directory to keep compiled programs in between processes.
            on_bytes: Told of bytes as weights are read, and of how many there are to read.

        Raises:
            ConfigError: The configuration is missing or refused.
            RequantisationError: The experts are int4 already, or their sizes do not divide.
            CheckpointError: A file is missing, or one is there that should not be.
            UnsafeShardError: A shard is malformed.
            TokenizerError: The tokenizer is refused.
            DeviceError: The model does not fit or does not divide over the mesh, or the compile
                cache is not private.
        """
        start = time.perf_counter()
        if config is None:
            config = ModelConfig.from_json(directory / CONFIG_FILE)
        if dtype is not None:
            config = dataclasses.replace(config, compute_dtype=dtype)
        read = open_safetensors if holds_safetensors(directory) else open_checkpoint
        checkpoint = read(directory, config)
        if requantise is not None:
            config = config.requantised(requantise)
        path = directory / TOKENIZER_FILE
        tokenizer = Tokenizer.from_file(path) if path.exists() else None
        if compile_cache is not None:
            use_compilation_cache(compile_cache)
        device_mesh = default_mesh(config) if mesh in (None, AUTO) else make_mesh(mesh)
        native = None if compile_cache is None else compile_cache / "native"
        chosen = choose(device_mesh.devices.flat[0].platform, kernels, native)
        spec = ModelSpec.create(config, device_mesh, kv_cache=kv_cache, kernels=chosen.name)
        runner = Runner(spec, load_weights(checkpoint, spec, on_bytes=on_bytes))
        load_s = time.perf_counter() - start
        return cls(runner, tokenizer, load_s=load_s, plain_because=chosen.reason)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with nothing added.

        Raises:
            TokenizerError: The model has no tokenizer.
            PromptError: The text is no valid Unicode, or far longer than the context.
        """
        if self.tokenizer is None:
            raise TokenizerError(
                f"the model directory has no {TOKENIZER_FILE}; expected token ids, got a text",
                hint="give token ids with --tokens FILE.npy",
            )
        longest = self.config.sequence_len * _MAX_CHARACTERS_PER_TOKEN
        if len(text) > longest:
            raise PromptError(
                f"the text has {len(text)} characters; expected at most {longest} "
                f"for a context of {self.config.sequence_len} tokens"
            )
        return self.tokenizer.encode(text)

    def generate(
        self,
        tokens: Tokens,
        sampling: SamplingParams,
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
    ) -> Iterator[Event]:
        """Continues a prompt; checks everything before it returns.

        Args:
            tokens: The prompt, at least one token and fewer than the context.
            sampling: How to choose tokens.
            max_tokens: Generate at most so many; ``None`` fills the context.
            stop: End before the first of these strings; neither it nor what follows is shown.
            ignore_eos: Go on past the model's end of text.

        Returns:
            A ``TokenEvent`` for each token as it is made, then one ``EndEvent``. Closing the
            iterator stops the work.

        Raises:
            PromptError: The prompt is empty or too long, or a setting is out of bounds.
            TokenizerError: A token id is outside the vocabulary, or stop strings are given and
                the model has no tokenizer.
        """
        generation = self.begin(
            tokens, sampling, max_tokens=max_tokens, stop=stop, ignore_eos=ignore_eos
        )
        return self._events(generation)

    def begin(
        self,
        tokens: Tokens,
        sampling: SamplingParams,
        *,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
    ) -> Generation:
        """Checks what ``generate`` is asked for; nothing is computed yet."""
        prompt = self._checked(tokens)
        room = self.config.sequence_len - len(prompt)
        if room < 1:
            raise PromptError(
                f"the prompt has {len(prompt)} tokens; expected fewer than the context of "
                f"{self.config.sequence_len}, to leave room for an answer"
            )
        if max_tokens is not None and (isinstance(max_tokens, bool) or max_tokens < 1):
            raise PromptError(f"max_tokens is {max_tokens}; expected at least 1")
        if stop and self.tokenizer is None:
            raise TokenizerError(f"stop strings need a tokenizer; there is no {TOKENIZER_FILE}")
        return Generation(
            prompt,
            sampling,
            config=self.config,
            tokenizer=self.tokenizer,
            max_tokens=max_tokens,
            stop=stop,
            ignore_eos=ignore_eos,
            load_s=self.load_s,
            compiled_s=self.runner.compiled_s,
        )

    def score(self, tokens: Tokens) -> FloatArray:
        """Logits ``[T, vocab]`` float32 after each token.

        Raises:
            PromptError: There are no tokens, or more than the context.
            TokenizerError: A token id is outside the vocabulary.
        """
        prompt = self._checked(tokens)
        chunk = chunk_size(len(prompt))
        cache = self.runner.new_cache(1, -(-len(prompt) // chunk) * chunk)
        logits = np.empty((len(prompt), self.config.vocab_size), np.float32)
        for start in range(0, len(prompt), chunk):
            part, count = _padded(prompt[start : start + chunk], chunk)
            scored, cache = self.runner.score(cache, part, [count])
            logits[start : start + count] = np.asarray(scored)[0, :count]
        return logits

    def begin_scoring(self, tokens: Tokens, *, top: int = 0) -> Scoring:
        """Checks a text to be scored chunk by chunk; nothing is computed yet.

        Raises:
            PromptError: There are no tokens, or more than the context.
            TokenizerError: A token id is outside the vocabulary.
        """
        return Scoring(self.runner, self._checked(tokens), top=top)

    def _checked(self, tokens: Tokens) -> IntArray:
        array = np.asarray(tokens)
        if array.size == 0:
            raise PromptError("the prompt is empty; expected at least one token")
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise PromptError(
                f"token ids have shape {array.shape} and dtype {array.dtype}; "
                "expected one dimension of integers"
            )
        if array.size > self.config.sequence_len:
            raise PromptError(
                f"the prompt has {array.size} tokens; expected at most the context of "
                f"{self.config.sequence_len}"
            )
        outside = array[(array < 0) | (array >= self.config.vocab_size)]
        if outside.size:
            raise TokenizerError(
                f"token id {int(outside[0])} is outside the vocabulary; "
                f"expected 0 to {self.config.vocab_size - 1}"
            )
        return array.astype(np.int32)

    def _events(self, generation: Generation) -> Iterator[Event]:
        runner, prompt = self.runner, generation.prompt
        prefill = Prefill(runner, prompt, room=generation.first_room)
        runner.prepare(batch=1, chunk=chunk_size(len(prompt)), tokens=prefill.room)
        while (done := prefill.advance()) is None:
            pass
        logits, cache = done
        state = runner.on_device(SamplingState.start(generation.sampling))
        in_use = runner.on_device(np.ones(1, bool))
        sampled = runner.sample(logits, cache, state)
        chosen = 1
        while True:
            following = None
            if chosen < generation.limit:
                # Before the token is read: it goes into the next step without the host, and the
                # devices work on that while this token is shown. One step too many is done where
                # the token turns out to be the last.
                cache = runner.with_room(cache, len(prompt) + chosen)
                following, cache = runner.step(cache, sampled.tokens, in_use, state)
                chosen += 1
            event = generation.push(sampled)
            if event is not None:
                yield event
            if generation.reason is not None or following is None:
                break
            sampled = following
        yield generation.end()


def log_probabilities(logits: FloatArray, tokens: Tokens) -> FloatArray:
    """``[T - 1]`` float32: of each token after the first, given those before it.

    Args:
        logits: ``[T, vocab]`` from ``Engine.score``.
        tokens: The ``[T]`` tokens they are for.
    """
    following = np.asarray(tokens)[1:, None]
    rows = logits[:-1]
    peak = rows.max(-1, keepdims=True)
    total = np.log(np.exp(rows - peak).sum(-1)) + peak[:, 0]
    result: FloatArray = np.take_along_axis(rows, following, -1)[:, 0] - total
    return result


def _padded(tokens: IntArray, chunk: int) -> tuple[IntArray, int]:
    """``[1, chunk]``, filled up behind, and how many tokens count."""
    part = np.zeros((1, chunk), np.int32)
    part[0, : len(tokens)] = tokens
    return part, len(tokens)
