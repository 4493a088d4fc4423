"""The JAX runtime for models of Grok-1's architecture. Imports nothing from ``grokdist``.

``Engine`` is a loaded model; importing the package alone does not load JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grokdist_runtime.engine import Engine

__all__ = ["Engine"]


def __getattr__(name: str) -> Any:
    """``Engine``, imported when it is first asked for (PEP 562): it needs JAX."""
    if name != "Engine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from grokdist_runtime.engine import Engine

    return Engine
