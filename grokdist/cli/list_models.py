"""``grokdist list``: the models in the catalog, and which of them are here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokdist.cli import options
from grokdist.cli.format import bytes_text
from grokdist.cli.output import Output
from grokdist.errors import TrustError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokdist.catalog.manifest import Manifest
    from grokdist.catalog.registry import Registry


def list_models(
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the models in the catalog and which of them are here."""
    from grokdist.catalog import registries
    from grokdist.catalog.alteration import alteration_of
    from grokdist.policy.notice import notice
    from grokdist.transfer.store import Store

    out = Output(json=json, quiet=quiet, verbose=verbose)
    here: dict[str, list[str]] = {}
    for stored in Store().list():
        if (receipt := stored.receipt) is not None:
            part = "" if stored.complete else " (part)"
            part += " (altered)" if receipt.altered else ""
            name = registries.qualified(receipt.signed_by.registry, receipt.model)
            here.setdefault(name, []).append(f"{stored.directory}{part}")
    listed = {
        registries.qualified(registry.name, each.name): (registry.name, each)
        for registry, manifests in _catalogs(out)
        for each in manifests
    }
    rows = []
    lines = []
    width = max(map(len, [*listed, *here]))
    for name, (registry, manifest) in listed.items():
        rows.append(
            {
                "name": name,
                "registry": registry,
                "title": manifest.title,
                "revision": manifest.revision,
                "weights_released": manifest.has_weights,
                "bytes": manifest.size if manifest.listed else None,
                "license": manifest.license.expression,
                "summary": manifest.summary,
                "altered": alteration_of(manifest),
                "directories": here.get(name, []),
            }
        )
        lines.append(f"{name:<{width}} {_size(manifest):>10}  {notice(manifest)}")
        lines += [f"{'':<{width}} {'here':>10}  {place}" for place in here.pop(name, [])]
    for name, places in here.items():
        rows.append({"name": name, "directories": places})
        lines += [f"{name:<{width}} {'here':>10}  {place} (not in the catalog)" for place in places]
    out.result({"models": rows}, "\n".join(lines))


def _catalogs(out: Output) -> Iterator[tuple[Registry, list[Manifest]]]:
    """Every registry with its manifests; a followed one that cannot be read is only warned of."""
    from grokdist.catalog import registries
    from grokdist.catalog.registry_names import EMBEDDED

    for name in registries.names():
        try:
            registry = registries.named(name)
            listed = registry.names()
        except TrustError as error:
            if name == EMBEDDED:
                raise
            out.warning(f"the registry {name} is left out: {error}")
            continue
        manifests = []
        for each in listed:
            try:
                manifests.append(registry.load(each).manifest)
            except (TrustError, UnknownModelError) as error:
                if name == EMBEDDED:
                    raise
                out.warning(f"{name}:{each} is left out: {error}")
        yield registry, manifests


def _size(manifest: Manifest) -> str:
    if not manifest.has_weights:
        return "no weights"
    return bytes_text(manifest.size) if manifest.listed else "by commit"
