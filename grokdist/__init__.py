"""grokdist: get open-weight models, provably, from publisher to running."""

__version__ = "0.1.0"
