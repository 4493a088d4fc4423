"""What a server says of the model that answers: licence, openness, who vouches, what was checked.

Taken from the signed manifest, from the receipt of the fetch, and from the check that was made when
the server opened the model. Plain values, for the page and for programs.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grokdist.api.verified import VerifiedModel


def provenance(opened: VerifiedModel, *, at: datetime) -> dict[str, Any]:
    """The document of ``/provenance``.

    Args:
        opened: The model.
        at: When it was checked.
    """
    trusted, receipt = opened.trusted, opened.receipt
    if trusted is None:
        return {
            "model": opened.name,
            "title": opened.name,
            "notice": "UNVERIFIED: nothing vouches for these bytes, their licence or openness.",
            "verified": None,
        }
    from grokdist.catalog.alteration import alteration_of
    from grokdist.policy.notice import notice
    from grokdist.policy.openness import rate

    manifest, signed_by = trusted.manifest, trusted.signed_by
    openness = rate(manifest)
    how = (
        "every file hashed and compared with the signed manifest"
        if opened.hashed
        else "sizes and times compared with those of the last full hash"
    )
    sources = {} if receipt is None else receipt.source_bytes
    return {
        "model": manifest.name,
        "title": manifest.title,
        "notice": notice(manifest),
        "publisher": manifest.publisher,
        "revision": manifest.revision,
        "released": manifest.released,
        "altered": alteration_of(manifest),
        "license": {
            "expression": manifest.license.expression,
            "name": manifest.license.name,
            "text_sha256": manifest.license.text_sha256,
            "evidence": manifest.license.evidence,
            "accepted_by": None if receipt is None else receipt.license.accepted_by,
        },
        "openness": {
            "headline": openness.headline,
            "class": f"Model Openness Framework: {openness.mof.class_label}",
            "osaid": str(openness.osaid.verdict),
        },
        "verified": {
            "at": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "how": how,
            "files": len(manifest.files) if receipt is None else len(receipt.files),
            "bytes": manifest.size,
        },
        "role": str(manifest.role),
        "statement": manifest.statement,
        "manifest_sha256": trusted.sha256,
        "signed_by": {
            "registry": signed_by.registry,
            "root_sha256": signed_by.root_sha256,
            "keyids": list(signed_by.keyids),
            "threshold": signed_by.threshold,
            "expires": signed_by.expires,
            "expired": signed_by.expired,
        },
        "sources": [{"name": name, "bytes": count} for name, count in sources.items()],
        "fetched": None if receipt is None else receipt.finished,
    }
