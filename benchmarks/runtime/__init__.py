"""Ours against llama.cpp and against the original algorithm: load, prefill, decode, memory.

``python -m benchmarks.runtime`` is the command; ``__main__`` says what it does.
"""
