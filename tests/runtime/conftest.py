"""Eight simulated devices, and models that are loaded and compiled once for the whole session."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import sentencepiece

from grokdist_runtime.checkpoint.checkpoint_directory import open_checkpoint
from grokdist_runtime.config import ModelConfig
from grokdist_runtime.engine import Engine
from grokdist_runtime.loader import load_weights
from grokdist_runtime.native.build import build
from grokdist_runtime.native.library import register
from grokdist_runtime.runner import Runner
from grokdist_runtime.sharding import make_mesh
from grokdist_runtime.spec import ModelSpec
from tests.conftest import QUICKLY
from tests.runtime.numpy_oracle import Oracle
from tests.runtime.random_checkpoint import (
    Weights,
    random_weights,
    small_config,
    write_checkpoint,
)

# Before anything asks for a device; a configuration and not XLA_FLAGS, so that processes which
# tests start are not changed with it.
jax.config.update("jax_num_cpu_devices", 8)

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference" / "tiny-12-layer"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """A random checkpoint on disk, and what it holds."""

    directory: Path
    config: ModelConfig
    weights: Weights

    @functools.cached_property
    def oracle(self) -> Oracle:
        return Oracle(self.config, self.weights)


@functools.cache
def native_library() -> Path:
    """The native kernel, built once for this process."""
    library = build(None)
    if library.path is None:
        pytest.skip(f"there is no native kernel: {library.reason}")
    return library.path


@functools.cache
def load_runner(
    directory: Path,
    mesh: str,
    dtype: str,
    kv_cache: str | None = None,
    kernels: str = "plain",
) -> Runner:
    if kernels == "native":
        register(native_library())
    config = ModelConfig.from_json(directory / "config.json")
    config = dataclasses.replace(config, compute_dtype=dtype)
    spec = ModelSpec.create(config, make_mesh(mesh), kv_cache=kv_cache, kernels=kernels)
    return Runner(spec, load_weights(open_checkpoint(directory, config), spec))


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Model]:
    """Writes a random model of the given sizes, or finds the one written before."""
    made: dict[str, Model] = {}

    def make(**changes: Any) -> Model:
        key = repr(sorted(changes.items()))
        if key not in made:
            config = small_config(**changes)
            weights = random_weights(config)
            directory = write_checkpoint(tmp_path_factory.mktemp("model") / "m", config, weights)
            made[key] = Model(directory=directory, config=config, weights=weights)
        return made[key]

    return make


@pytest.fixture
def full_compilation() -> Iterator[None]:
    """Runners compile as they do for users; see ``tests/conftest.py``."""
    compiled = functools.partialmethod(
        jax.stages.Lowered.compile, compiler_options=dict.fromkeys(QUICKLY, True)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.stages.Lowered, "compile", compiled)
        jax.config.update("jax_disable_most_optimizations", False)
        yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def reference() -> Path:
    if not REFERENCE.is_dir():
        pytest.skip(f"the reference checkpoint is not beside the repository ({REFERENCE.name})")
    return REFERENCE


TEXT = [
    "To be, or not to be, that is the question: whether 'tis nobler in the mind to suffer",
    "the slings and arrows of outrageous fortune, or to take arms against a sea of troubles,",
    "and by opposing end them? To die: to sleep; no more; and by a sleep to say we end",
]


@pytest.fixture(scope="session")
def tokenizer_model() -> bytes:
    """A SentencePiece BPE with byte fallback and the release's special ids, 320 pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 4),
        model_writer=model,
        model_type="bpe",
        vocab_size=320,
        byte_fallback=True,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return model.getvalue()


@pytest.fixture(scope="session")
def engine(make_model: Callable[..., Model], tokenizer_model: bytes) -> Engine:
    """A model with a tokenizer; its text is nonsense."""
    directory = make_model(vocab_size=320).directory
    (directory / "tokenizer.model").write_bytes(tokenizer_model)
    return Engine.load(directory, mesh="1x1")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
