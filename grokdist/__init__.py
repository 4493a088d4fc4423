"""grokdist: get open-weight models, provably, from publisher to running.

Three functions do what the commands of the same names do::

    fetched = grokdist.fetch("grok-1", directory="/data/grok-1")
    report = grokdist.verify("grok-1")
    engine = grokdist.open_model("grok-mini")

They raise the errors of ``grokdist.errors``, log to the logger ``grokdist``, and never print, ask
or end the process. Importing the package loads none of what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grokdist.api.fetching import Fetched, fetch
    from grokdist.api.opening import open_model
    from grokdist.api.verifying import Verified, verify

__version__ = "0.1.0"

__all__ = ["Fetched", "Verified", "fetch", "open_model", "verify"]

_PLACES = {
    "Fetched": "fetching",
    "Verified": "verifying",
    "fetch": "fetching",
    "open_model": "opening",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"grokdist.api.{_PLACES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
