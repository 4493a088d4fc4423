"""Manifests: what a model consists of, who says so, and the signed registry that holds them."""
