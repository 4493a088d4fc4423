"""The JAX runtime for models of Grok-1's architecture. Imports nothing from ``grokdist``."""
