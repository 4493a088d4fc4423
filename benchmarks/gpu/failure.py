"""Why the benchmark could not run, in a sentence."""

from __future__ import annotations


class BenchmarkError(Exception):
    """There is no GPU, or something that the benchmark needs is not installed."""
