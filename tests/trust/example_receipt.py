"""A receipt with something in each of its fields."""

from __future__ import annotations

from grokdist.trust.receipt import (
    Receipt,
    ReceiptAttestation,
    ReceiptFile,
    ReceiptLicense,
    ReceiptSigner,
)

EXAMPLE_RECEIPT = Receipt(
    model="tiny",
    revision="abc",
    files=(ReceiptFile(path="a/b", size=3, sha256="0" * 64, sources=("hub:x/y",)),),
    include=(),
    source_bytes={"hub:x/y": 3},
    started="2024-03-17T12:00:00Z",
    finished="2024-03-17T12:00:01Z",
    manifest_sha256="1" * 64,
    role="observer",
    statement="Seen.",
    signed_by=ReceiptSigner(registry="embedded", root_sha256="2" * 64, keyids=("k",), threshold=1),
    license=ReceiptLicense(expression="Apache-2.0", text_sha256="3" * 64),
    openness="class III",
    tool="grokdist 0",
    attestations=(
        ReceiptAttestation(path="x/a.json", predicate_type="https://x/y", sha256="5" * 64),
    ),
)
