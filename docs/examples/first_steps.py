"""A study in small: fetch a model, prove it, open it, measure it, let it write, keep a record.

    python docs/examples/first_steps.py            # grok-mini, which the package ships
    python docs/examples/first_steps.py MODEL

A start for your own: put your texts into ``TEXTS``, and your question into ``measure``. What was
measured on which bytes is written to ``first-steps.json``, so that others can repeat it.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import grokdist
from grokdist.errors import GrokdistError
from grokdist_runtime import Engine
from grokdist_runtime.engine import log_probabilities
from grokdist_runtime.errors import RuntimeModelError
from grokdist_runtime.sampling import SamplingParams

TEXTS = {
    "the play": "To be, or not to be: that is the question.",
    "shuffled": "question the is that be to not or be, To:.",
}


def get(model: str) -> grokdist.Verified:
    """Fetch, and prove again what is on the disk."""
    fetched = grokdist.fetch(model)
    print(f"{fetched.model}: {fetched.files} files, {fetched.bytes:,} bytes, {fetched.directory}")
    report = grokdist.verify(model)
    if not report.ok:
        raise SystemExit(f"damaged: {report.missing} {report.mismatched} {report.extra}")
    print(f"verified in {report.seconds:.1f} s")
    return report


def measure(engine: Engine, text: str) -> float:
    """Bits a byte that the model needs for a text: the less, the more it expected it."""
    tokens = engine.encode(text)
    logprobs = log_probabilities(engine.score(tokens), tokens)
    return -float(logprobs.sum()) / math.log(2) / len(text.encode())


def write(engine: Engine, start: str) -> None:
    """Continue a text; the same seed gives the same text."""
    sampling = SamplingParams(temperature=0.8, top_p=0.95, seed=1)
    print(start, end="")
    for event in engine.generate(engine.encode(start), sampling, max_tokens=24):
        print(event.text, end="", flush=True)
    print()


def keep(report: grokdist.Verified, bits: dict[str, float]) -> None:
    """Write down what was measured, and on what."""
    record = {
        "grokdist": grokdist.__version__,
        "model": report.model,
        "revision": report.revision,
        "files": report.files,
        "bytes": report.bytes,
        "bits_a_byte": bits,
    }
    Path("first-steps.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


def main(model: str = "grok-mini") -> int:
    """Do all of it; errors end with a sentence."""
    try:
        report = get(model)
        engine = grokdist.open_model(model)
        bits = {name: measure(engine, text) for name, text in TEXTS.items()}
        for name, value in bits.items():
            print(f"{name}: {value:.2f} bits a byte")
        keep(report, bits)
        write(engine, "Once more unto the breach")
    except (GrokdistError, RuntimeModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
