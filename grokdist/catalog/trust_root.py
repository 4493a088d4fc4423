"""The trust root that this version of grokdist ships with.

``tools/sign_manifests.py`` rewrites the fingerprint; how the root came about and what it proves:
``docs/adr/0004-one-shot-root.md``.
"""

from __future__ import annotations

ROOT_SHA256 = "6d093896c8302c3500d79e44bb86e449d0b009ce675dd6453b44367839981b51"
"""SHA-256 of the bytes of ``1.root.json`` in the embedded registry."""
