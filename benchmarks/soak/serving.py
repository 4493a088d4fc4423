"""The server under mixed load: a real one in a process of its own, and callers in threads."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openai
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.soak.memory import Watch, has_grown, rise
from benchmarks.soak.traffic import BUSY, KINDS, PATIENCE_S, Caller, Outcome, ask
from benchmarks.soak.wanted import Answer, answers
from grokdist_runtime.engine import Engine

ROOT = Path(__file__).parents[2]
MODEL = "grok-mini"
BUNDLED = ROOT / "grokdist" / "bundled" / MODEL
# Small, so that the prefix cache is full before the warm-up ends; a limit must be met to be seen.
FLAGS = ("--max-rows", "8", "--max-waiting", "24", "--prefix-cache", str(16 << 20))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """How much is asked.

    Attributes:
        seconds: How long.
        warm_s: Of these, how long until memory is looked at.
        callers: How many ask at once.
        seed: Of what they choose.
        prompts, seeds, tokens: How many texts are known, and their length.
    """

    seconds: float
    warm_s: float
    callers: int
    seed: int
    prompts: int = 8
    seeds: int = 4
    tokens: int = 40


def soak(load: Load, home: Path, *, kernels: str) -> dict[str, Any]:
    """Runs the server under the load; the figures of it.

    Args:
        load: How much is asked.
        home: A folder for the server's store, whose compiled programs are used here as well.
        kernels: Of the server and of the model alone.
    """
    engine = Engine.load(BUNDLED, mesh="1x1", kernels=kernels)
    known = answers(engine, prompts=load.prompts, seeds=load.seeds, tokens=load.tokens)
    with server(home, kernels) as (child, port):
        every_s = min(1.0, load.seconds / 20)
        with Watch(child.pid, every_s=every_s) as watch:
            outcomes = _asked(load, port, known)
            idle = _idle(port)
        child.send_signal(signal.SIGTERM)
        code = child.wait(PATIENCE_S)
    samples = [each for each in watch.samples if load.warm_s <= each.at <= load.seconds]
    wrong = [
        f"{kind}: {each.wrong}"
        for kind, found in outcomes.items()
        for each in found
        if each.wrong not in ("", BUSY)
    ]
    return {
        "seconds": load.seconds,
        "warm_s": load.warm_s,
        "callers": load.callers,
        "seed": load.seed,
        "kernels": kernels,
        "flags": list(FLAGS),
        "known_texts": sum(map(len, known)),
        "kinds": {kind: _figures(found) for kind, found in outcomes.items()},
        "wrong": wrong,
        "idle_afterwards": idle,
        "exit_code": code,
        "memory": {
            "at": [round(each.at, 1) for each in watch.samples],
            "resident": [each.resident for each in watch.samples],
            "first": samples[0].resident,
            "last": samples[-1].resident,
            "rise": round(rise(samples)),
            "grown": has_grown(samples),
            "threads": [samples[0].threads, samples[-1].threads],
            "files": [samples[0].files, samples[-1].files],
        },
    }


@contextlib.contextmanager
def server(home: Path, kernels: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``grokdist serve`` in a process of its own, and its port."""
    command = [sys.executable, "-m", "grokdist", "serve", "--model", MODEL, "--port", "0", "--json"]
    command.append("-q")
    child = subprocess.Popen(
        [*command, "--kernels", kernels, *FLAGS],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'runtime'}",
            "GROKDIST_HOME": str(home),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if child.stdout is None:
            raise RuntimeError("the server has no standard output")
        said = ""
        while line := child.stdout.readline():
            said += line
            if line == "}\n":
                break
        yield child, int(json.loads(said)["port"])
    finally:
        child.kill()
        child.communicate()


def _asked(
    load: Load, port: int, known: tuple[tuple[Answer, ...], ...]
) -> dict[str, list[Outcome]]:
    """What became of all requests, by kind."""
    outcomes: dict[str, list[Outcome]] = collections.defaultdict(list)
    until = time.monotonic() + load.seconds
    names = list(KINDS)
    weights = [weight for _, weight in KINDS.values()]

    def call(number: int) -> None:
        rng = random.Random(f"{load.seed} {number}")
        url = f"http://127.0.0.1:{port}/v1"
        with openai.OpenAI(
            base_url=url, api_key="none", max_retries=0, timeout=PATIENCE_S
        ) as client:
            caller = Caller(port=port, model=MODEL, client=client, answers=known, rng=rng)
            # Each kind at least once, also where there is little time.
            first = names[number :: load.callers]
            while first or time.monotonic() < until:
                kind = first[0] if first else rng.choices(names, weights)[0]
                outcome = ask(caller, kind)
                outcomes[kind].append(outcome)
                if outcome.wrong == BUSY:
                    time.sleep(0.05)
                elif first:
                    first.pop(0)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(load.callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {kind: outcomes[kind] for kind in names}


def _idle(port: int) -> bool:
    """Whether soon nothing runs or waits: nobody is left, also of those who went away."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        if not values["grokdist_texts_running"] and not values["grokdist_texts_waiting"]:
            return True
        time.sleep(0.1)
    return False


def _figures(found: Sequence[Outcome]) -> dict[str, Any]:
    """Counts, and half and 99 % of the waits, in seconds."""
    right = [each for each in found if not each.wrong]
    return {
        "requests": len(found),
        "right": len(right),
        "busy": sum(each.wrong == BUSY for each in found),
        "first_s": _quantiles([each.first_s for each in right if each.first_s is not None]),
        "whole_s": _quantiles([each.whole_s for each in right]),
    }


def _quantiles(seconds: Sequence[float]) -> list[float] | None:
    if not seconds:
        return None
    return [round(float(each), 4) for each in np.percentile(seconds, [50, 99])]
