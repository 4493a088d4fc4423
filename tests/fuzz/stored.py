"""Targets that are files of a model or of the user: weights, configuration, records."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.fuzz import mutation
from tests.fuzz.target import REPOSITORY, Target, ours, scratch


def shard_target() -> Target:
    from grokdist_runtime.checkpoint.shard import read_shard
    from grokdist_runtime.errors import RuntimeModelError
    from tests.checkpoint import pickle_assembler as made

    path = scratch() / "tensor00000_000"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read_shard(path)

    folder = REPOSITORY / "grokdist/bundled/grok-mini/ckpt-0"
    small = sorted(folder.iterdir(), key=lambda each: each.stat().st_size)[:2]
    seeds = [
        made.shard(made.array()),
        made.shard(made.array(made.shape(2, 3), made.float32(), made.raw(bytes(24)))),
        made.shard(made.quantised()),
        *(each.read_bytes() for each in small if each.stat().st_size < mutation.MAX_SIZE),
    ]
    return Target(
        seeds=seeds, run=run, refusals=(RuntimeModelError,), mutate=mutation.pickle_opcodes
    )


def safetensors_target() -> Target:
    import numpy as np
    from safetensors.numpy import save

    from grokdist_runtime.checkpoint.inspection import inspect_path
    from grokdist_runtime.errors import RuntimeModelError

    path = scratch() / "model.safetensors"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        inspect_path(path)

    arrays = {"a": np.zeros((2, 3), np.int8), "b.scales": np.ones((4,), np.float32)}
    return Target(
        seeds=[save(arrays), save(arrays, metadata={"format": "np"}), save({})],
        run=run,
        refusals=(RuntimeModelError,),
        mutate=mutation.safetensors_file,
    )


def config_target() -> Target:
    """The model's JSON, and the two TOML files of a user; the first byte says which."""
    from grokdist.errors import GrokdistError
    from grokdist.policy.policy_file import parse_policy
    from grokdist.settings import load_config
    from grokdist_runtime.checkpoint.tensor_table import tensor_table
    from grokdist_runtime.config import ModelConfig
    from grokdist_runtime.errors import RuntimeModelError
    from tests.policy.test_policy_file import WHOLE

    path = scratch() / "config.toml"
    settings = (
        b'[run]\nmax-tokens = 64\ntemperature = 0.5\nstop = ["a", "b"]\n[fetch]\nyes = true\n'
    )
    model = (REPOSITORY / "grokdist/bundled/grok-mini/config.json").read_bytes()

    def run(data: bytes) -> None:
        if data.startswith(b"#s"):
            path.write_bytes(data)
            load_config(path)
        elif data.startswith(b"#p"):
            parse_policy(data, path)
        else:
            config = ModelConfig.from_json(data)
            if config.num_layers < 64:
                tensor_table(config)

    def mutate(rng: Any, data: bytes) -> bytes:
        if not data.startswith(b"#"):
            return mutation.json_tree(rng, data)
        head, _, rest = data.partition(b"\n")
        return head + b"\n" + mutation.lines(rng, rest)

    return Target(
        seeds=[model, b"#s\n" + settings, b"#p\n" + WHOLE],
        run=run,
        refusals=(GrokdistError, RuntimeModelError),
        mutate=mutate,
    )


def yaml_target() -> Target:
    """A file of the Model Openness Framework's tool."""
    from grokdist.errors import GrokdistError
    from grokdist.policy.mof_yaml import evaluate_release, parse_mof_yaml

    grok = (REPOSITORY / "tests/policy/mot/Grok-1.yml").read_bytes()
    head, _, components = grok.partition(b"  components:\n")
    first, second, _ = components.split(b"    -\n", 3)[1:]
    release = head + b"  components:\n    -\n" + first
    # Reading YAML is slow, so that short ones are tried more often.
    short = (
        b"framework:\n  name: Model Openness Framework\n"
        b"release:\n  name: x\n  producer: x\n  license: {  }\n  components: [ ]\n"
    )

    def run(data: bytes) -> None:
        evaluate_release(parse_mof_yaml(data))

    return Target(
        seeds=[release + b"    -\n" + second, short],
        run=run,
        refusals=(GrokdistError,),
        mutate=mutation.lines,
    )


def state_target() -> Target:
    """What stands in a model's directory, which others may write to: receipt, lease, records."""
    from grokdist.errors import GrokdistError
    from grokdist.transfer import lease, part_state
    from grokdist.trust.receipt import parse_receipt
    from tests.trust.example_receipt import EXAMPLE_RECEIPT

    holder = lease.Holder(host="h", pid=1, boot="b", token="t")
    written = {"sources": ["hub:a"], "ranges": [[0, 10, 0]], "sha256": None}
    part = {
        "sequence": 1,
        "digest": "ab" * 32,
        "size": 100,
        "boot": "b",
        "written": written,
        "synced": written,
    }

    def run(data: bytes) -> None:
        if b'"schema"' in data[:40]:
            parse_receipt(data)
        else:
            slot = data.ljust(part_state._SLOT - part_state._SUM)
            found = part_state._parse(hashlib.sha256(slot).digest() + slot)
            ours(found or lease._parse(data).pid or None)

    seeds = [
        EXAMPLE_RECEIPT.to_json(),
        json.dumps(part).encode(),
        json.dumps(
            {"host": holder.host, "pid": holder.pid, "boot": holder.boot, "token": holder.token}
        ).encode(),
    ]
    return Target(seeds=seeds, run=run, refusals=(GrokdistError,), mutate=mutation.json_tree)
