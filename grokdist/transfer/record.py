"""From the state of a fetch to its receipt, and from the receipt on disk back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import grokdist
from grokdist.catalog.alteration import alteration_of
from grokdist.catalog.manifest import Manifest, SignedBy
from grokdist.transfer.index import Hashed
from grokdist.transfer.plan import FetchRequest
from grokdist.transfer.tree import STATE, ModelTree
from grokdist.trust.receipt import (
    MAX_BYTES,
    Receipt,
    ReceiptAttestation,
    ReceiptError,
    ReceiptFile,
    ReceiptLicense,
    ReceiptSigner,
    parse_receipt,
)

RECEIPT = f"{STATE}/receipt.json"
MANIFEST = f"{STATE}/manifest.json"


def load_receipt(tree: ModelTree) -> Receipt | None:
    """The receipt of a model directory, or None where there is none.

    Raises:
        ReceiptError: it is not well-formed.
    """
    data = tree.read_small(RECEIPT, MAX_BYTES)
    return None if data is None else parse_receipt(data)


def read_receipt(tree: ModelTree) -> Receipt | None:
    """The receipt that a new one continues; one that cannot be read is replaced."""
    try:
        return load_receipt(tree)
    except ReceiptError:
        return None


def make_receipt(
    request: FetchRequest,
    *,
    rows: Mapping[str, Hashed],
    origins: Mapping[str, tuple[str, ...]],
    source_bytes: Mapping[str, int],
    started: datetime,
    old: Receipt | None,
    roots: Mapping[str, str] = MappingProxyType({}),
) -> Receipt:
    """The receipt after a fetch in which all files of ``rows`` were found right.

    Args:
        request: what was asked.
        rows: the wanted files.
        origins: sources of the files that came in this run.
        source_bytes: bytes by source in this run.
        started: when the run began.
        old: the receipt of earlier fetches into the directory; what it says of files that are
            still in the manifest, and were not asked for this time, is kept.
        roots: tree roots, 64 hex digits, of the files whose tree was built in this run; others
            keep the one that the manifest or ``old`` names.
    """
    manifest = request.trusted.manifest
    if old is not None and old.model != manifest.name:
        old = None
    entries = {entry.path: entry for entry in manifest.files}
    earlier = {} if old is None else {file.path: file for file in old.files}
    files = {}
    for path, row in rows.items():
        same = path in earlier and earlier[path].sha256 == row.sha256
        sources = origins.get(path, earlier[path].sources if same else ())
        known = roots.get(path) or entries[path].pieces_root
        known = known or (earlier[path].pieces_root if same else None)
        files[path] = ReceiptFile(
            path=path,
            size=entries[path].size,
            sha256=row.sha256,
            sources=sources,
            pieces_root=known if entries[path].size else None,
        )
    for path, file in earlier.items():
        entry = entries.get(path)
        if path not in files and entry is not None and entry.sha256 in (file.sha256, None):
            files[path] = file
    include = request.include if len(files) < len(entries) else ()
    if include and old is not None:
        include = tuple(dict.fromkeys((*old.include, *include)))
    totals = dict(old.source_bytes) if old is not None else {}
    for name, count in source_bytes.items():
        totals[name] = totals.get(name, 0) + count
    receipt = Receipt(
        model=manifest.name,
        revision=manifest.revision,
        files=tuple(files[path] for path in sorted(files)),
        include=include,
        source_bytes=totals,
        started=_utc(started),
        finished=_utc(datetime.now(UTC)),
        manifest_sha256=request.trusted.sha256,
        role=str(manifest.role),
        statement=_one_line(manifest.statement),
        signed_by=_signer(request.trusted.signed_by),
        license=ReceiptLicense(
            expression=_one_line(manifest.license.expression),
            text_sha256=manifest.license.text_sha256,
            accepted_by=request.accepted_by or (old.license.accepted_by if old else None),
        ),
        openness=_one_line(request.openness) if request.openness else None,
        policy=request.policy,
        altered=alteration_of(manifest),
        attestations=_still_about(old, manifest, request.trusted.sha256),
        tool=f"grokdist {grokdist.__version__}",
    )
    return old if old is not None and _says_the_same(old, receipt) else receipt


def _still_about(
    old: Receipt | None, manifest: Manifest, manifest_sha256: str
) -> tuple[ReceiptAttestation, ...]:
    """What earlier attestations say of this very release; those of another are no longer listed."""
    if old is None or old.revision != manifest.revision or old.manifest_sha256 != manifest_sha256:
        return ()
    return old.attestations


def _says_the_same(old: Receipt, new: Receipt) -> bool:
    """True where nothing but the time would change."""
    return (
        old.files == new.files
        and old.source_bytes == new.source_bytes
        and old.manifest_sha256 == new.manifest_sha256
        and old.signed_by == new.signed_by
        and old.license == new.license
        and old.openness == new.openness
        and old.policy == new.policy
        and old.altered == new.altered
        and old.include == new.include
        and old.attestations == new.attestations
    )


def _signer(signed_by: SignedBy) -> ReceiptSigner:
    return ReceiptSigner(
        registry=signed_by.registry,
        root_sha256=signed_by.root_sha256,
        keyids=tuple(signed_by.keyids),
        threshold=signed_by.threshold,
        expires=signed_by.expires,
        expired=signed_by.expired,
    )


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _one_line(text: str) -> str:
    """Text as the receipt's form allows it: printable, one line, bounded."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:4096]
