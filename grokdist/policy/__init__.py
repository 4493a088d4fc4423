"""Licence and openness: what may be done with a model, and how much of it was released."""
