"""A request to fetch, with the defaults that every caller means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.transfer.plan import FetchRequest


def make_request(trusted: TrustedManifest, **fields: Any) -> FetchRequest:
    """A request with the store's directory, the openness line, and sources as people name them."""
    from grokdist.policy.mof import evaluate, openness_line
    from grokdist.transfer.plan import FetchRequest
    from grokdist.transfer.sources.resolve import parse_sources
    from grokdist.transfer.store import Store

    manifest = trusted.manifest
    kinds, extra = parse_sources(fields.pop("source", ()))
    directory = fields.pop("directory", None)
    if policies := fields.pop("policies", ()):
        from grokdist.policy.decision import allows_source

        fields["source_allowed"] = lambda source: allows_source(policies, source)
    return FetchRequest(
        trusted=trusted,
        directory=directory or Store().directory(manifest.name, manifest.revision),
        kinds=kinds,
        extra_sources=extra,
        openness=f"{manifest.summary}; {openness_line(evaluate(manifest))}",
        **fields,
    )


def asked_for(sources: Iterable[str], torrent: str | None = None) -> tuple[str, ...]:
    """Names of the sources that were asked for besides the manifest's, as policies know them."""
    from grokdist.transfer.sources.resolve import parse_sources

    _, extra = parse_sources(tuple(sources))
    names = [f"{each.kind}:{each.location}" for each in extra]
    return (*names, f"torrent:{torrent}") if torrent else tuple(names)
