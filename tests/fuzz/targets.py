"""What is fuzzed: every place where bytes of others become values of ours.

A target takes bytes and either returns, which means accepted, or raises one of the project's own
errors. Anything else is a find. Each imports what it needs when it is made, since every target
runs in a process of its own, whose memory is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.fuzz import fetched, served, signed, stored
from tests.fuzz.target import REPOSITORY, NotOurs, Target

FINDS = REPOSITORY / "tests/fuzz/corpus"
"""Inputs that once were a find, a folder a target; tried again by the tests, and good seeds."""

TARGETS: dict[str, Callable[[], Target]] = {
    "manifest": signed.manifest_target,
    "tuf": signed.tuf_target,
    "oms": signed.oms_target,
    "shard": stored.shard_target,
    "safetensors": stored.safetensors_target,
    "torrent": fetched.torrent_target,
    "config": stored.config_target,
    "yaml": stored.yaml_target,
    "http": fetched.http_target,
    "body": served.body_target,
    "wire": served.wire_target,
    "share": fetched.share_target,
    "git": fetched.git_target,
    "state": stored.state_target,
}


def make(name: str) -> Target:
    """A target by its name, with the inputs of ``corpus/NAME`` among its seeds."""
    target = TARGETS[name]()
    kept = [path.read_bytes() for path in sorted((FINDS / name).glob("*"))]
    return replace(target, seeds=[*target.seeds, *kept], refusals=(*target.refusals, NotOurs))
