"""The trust root that this version of grokdist ships with.

``tools/sign_manifests.py`` rewrites the fingerprint; how the root came about and what it proves:
``docs/adr/0004-one-shot-root.md``.
"""

from __future__ import annotations

ROOT_SHA256 = "6c39bf58fa2b55b3ccdb99810e75a8152f11aa39064eb8fdec9b8cdaa5b67daa"
"""SHA-256 of the bytes of ``1.root.json`` in the embedded registry."""
