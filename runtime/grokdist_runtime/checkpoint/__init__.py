"""Read checkpoints without executing anything. Never imports JAX."""
