"""What registries are called, also in receipts; who only asks that need not import TUF's code."""

from __future__ import annotations

import re

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")
"""A followed registry's name."""
EMBEDDED = "embedded"
"""Name of the registry that ships with the package."""
UNSIGNED = "unsigned"
"""What receipts say where a manifest was given as a file."""
RESERVED = (EMBEDDED, UNSIGNED)
"""Names that no followed registry may have."""
