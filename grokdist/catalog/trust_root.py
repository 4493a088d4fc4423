"""The trust root that this version of grokdist ships with.

``tools/sign_manifests.py`` rewrites the fingerprint; how the root came about and what it proves:
``docs/adr/0004-one-shot-root.md``.
"""

from __future__ import annotations

ROOT_SHA256 = "b5232adf7500b7ac00a8c4fea40cbd3b56334d3a5577721834d284b2791fdf74"
"""SHA-256 of the bytes of ``1.root.json`` in the embedded registry."""
