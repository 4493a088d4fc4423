"""Measures ``grokdist fetch`` and ``grokdist verify`` beside the tools that people use today.

One run, one machine, the same bytes for all: see ``python -m benchmarks.fetch --help``.
"""
