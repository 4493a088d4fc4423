"""``grokdist list``: the models in the catalog, and which of them are here."""

from __future__ import annotations

from grokdist.cli import options
from grokdist.cli.format import bytes_text
from grokdist.cli.output import Output


def list_models(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the models in the catalog and which of them are here."""
    from grokdist.catalog.registry import Registry
    from grokdist.policy.notice import notice
    from grokdist.transfer.store import Store

    out = Output(json=json, quiet=quiet, verbose=verbose)
    registry = Registry.embedded()
    here: dict[str, list[str]] = {}
    for stored in Store().list():
        if stored.receipt is not None:
            part = "" if stored.complete else " (part)"
            here.setdefault(stored.receipt.model, []).append(f"{stored.directory}{part}")
    rows = []
    lines = []
    for name in registry.names():
        manifest = registry.load(name).manifest
        rows.append(
            {
                "name": name,
                "title": manifest.title,
                "revision": manifest.revision,
                "bytes": manifest.size,
                "license": manifest.license.expression,
                "summary": manifest.summary,
                "directories": here.get(name, []),
            }
        )
        lines.append(f"{name:<12} {bytes_text(manifest.size):>9}  {notice(manifest)}")
        lines += [f"{'':<12} {'here':>9}  {place}" for place in here.pop(name, [])]
    for name, places in here.items():
        rows.append({"name": name, "directories": places})
        lines += [f"{name:<12} {'here':>9}  {place} (not in the catalog)" for place in places]
    out.result({"models": rows}, "\n".join(lines))
