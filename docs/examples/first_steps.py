"""First steps from Python: fetch a model, prove it, open it, measure it, let it write.

    python docs/examples/first_steps.py            # grok-mini, which the package ships
    python docs/examples/first_steps.py MODEL

A start for a study: put your own texts into ``TEXTS``, and your own question into ``measure``.
"""

from __future__ import annotations

import math
import sys

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


def get(model: str) -> None:
    """Fetch, and prove again what is on the disk."""
    fetched = grokdist.fetch(model)
    print(f"{fetched.model}: {fetched.files} files, {fetched.bytes:,} bytes, {fetched.directory}")
    report = grokdist.verify(model)
    if not report.ok:
        raise SystemExit(f"damaged: {report.missing} {report.mismatched} {report.extra}")
    print(f"verified in {report.seconds:.1f} s")


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


def main(model: str = "grok-mini") -> int:
    """Do all of it; errors end with a sentence."""
    try:
        get(model)
        engine = grokdist.open_model(model)
        for name, text in TEXTS.items():
            print(f"{name}: {measure(engine, text):.2f} bits a byte")
        write(engine, "Once more unto the breach")
    except (GrokdistError, RuntimeModelError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:2]))
