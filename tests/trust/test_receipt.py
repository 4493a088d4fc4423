"""The receipt survives its own file format; a hostile file does not get through."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokdist.trust.receipt import (
    Receipt,
    ReceiptAttestation,
    ReceiptError,
    ReceiptFile,
    ReceiptLicense,
    ReceiptSigner,
    parse_receipt,
)
from tests.trust.example_receipt import EXAMPLE_RECEIPT

_TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=40)
_HEX64 = st.text("0123456789abcdef", min_size=64, max_size=64)
_TIME = st.just("2024-03-17T12:00:00Z")
_COUNT = st.integers(0, 1 << 60)
_NAMES = _TEXT.filter(lambda text: "/" not in text and text not in (".", ".."))
_FILES = st.lists(
    st.builds(
        ReceiptFile,
        path=st.lists(_NAMES, min_size=1, max_size=3).map("/".join),
        size=_COUNT,
        sha256=_HEX64,
        sources=st.lists(_TEXT, max_size=2).map(tuple),
        pieces_root=st.none(),
    )
    | st.builds(
        ReceiptFile,
        path=_TEXT.filter(lambda text: "/" not in text and text not in (".", "..")),
        size=st.integers(1, 1 << 60),
        sha256=_HEX64,
        pieces_root=_HEX64,
    ),
    max_size=4,
    unique_by=lambda file: file.path,
)
_RECEIPTS = st.builds(
    Receipt,
    model=_TEXT,
    revision=_TEXT,
    files=_FILES.map(tuple),
    include=st.lists(_TEXT, max_size=2).map(tuple),
    source_bytes=st.dictionaries(_TEXT, _COUNT, max_size=2),
    started=_TIME,
    finished=_TIME,
    manifest_sha256=_HEX64,
    role=_TEXT,
    statement=_TEXT,
    signed_by=st.builds(
        ReceiptSigner,
        registry=_TEXT,
        root_sha256=st.none() | _HEX64,
        keyids=st.lists(_TEXT, max_size=2).map(tuple),
        threshold=_COUNT,
        expires=st.none() | _TEXT,
        expired=st.booleans(),
    ),
    license=st.builds(
        ReceiptLicense,
        expression=_TEXT,
        text_sha256=st.none() | _HEX64,
        accepted_by=st.none() | _TEXT,
    ),
    openness=st.none() | _TEXT,
    tool=_TEXT,
    attestations=st.lists(
        st.builds(ReceiptAttestation, path=_NAMES, predicate_type=_TEXT, sha256=_HEX64),
        max_size=3,
        unique_by=lambda each: each.path,
    ).map(tuple),
)


@given(_RECEIPTS)
def test_what_is_written_is_read_again(receipt: Receipt) -> None:
    assert parse_receipt(receipt.to_json()) == receipt


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_the_one_error(data: bytes) -> None:
    with pytest.raises(ReceiptError):
        parse_receipt(data)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(json.loads(EXAMPLE_RECEIPT.to_json()))), _JSON)
def test_any_value_in_any_field_parses_or_is_refused(key: str, value: Any) -> None:
    document = json.loads(EXAMPLE_RECEIPT.to_json())
    document[key] = value
    try:
        parsed = parse_receipt(json.dumps(document).encode())
    except ReceiptError:
        return
    assert json.loads(parsed.to_json()) == document


def _set(*path: Any, to: Any) -> bytes:
    document = json.loads(EXAMPLE_RECEIPT.to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return json.dumps(document).encode()


def _with_root_of_nothing() -> bytes:
    document = json.loads(EXAMPLE_RECEIPT.to_json())
    document["files"][0] |= {"size": 0, "pieces_root": "4" * 64}
    return json.dumps(document).encode()


def test_a_receipt_of_an_earlier_version_has_no_roots() -> None:
    document = json.loads(EXAMPLE_RECEIPT.to_json())
    del document["files"][0]["pieces_root"]
    assert parse_receipt(json.dumps(document).encode()) == EXAMPLE_RECEIPT


def test_a_receipt_of_an_earlier_version_lists_no_attestations() -> None:
    document = json.loads(EXAMPLE_RECEIPT.to_json())
    del document["attestations"]
    assert parse_receipt(json.dumps(document).encode()) == dataclasses.replace(
        EXAMPLE_RECEIPT, attestations=()
    )


def test_roots_are_added_to_the_files_that_it_lists() -> None:
    receipt = EXAMPLE_RECEIPT.with_roots({"a/b": "4" * 64, "other": "5" * 64})
    assert [file.pieces_root for file in receipt.files] == ["4" * 64]
    assert parse_receipt(receipt.to_json()) == receipt
    assert receipt.with_roots({}) == receipt


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "receipt is not an object"),
        (b"{}", "receipt.schema is missing"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b'{"schema": NaN}', "not valid JSON"),
        (_set("schema", to="grokdist/receipt/v2"), "not one this program reads"),
        (_set("unknown", to=1), "'unknown' that is not known"),
        (_set("files", 0, "path", to="../x"), "unsafe"),
        (_set("files", 0, "path", to="/x"), "unsafe"),
        (_set("attestations", 0, "path", to="../x"), "unsafe"),
        (_set("attestations", 0, "path", to="/x"), "unsafe"),
        (_set("attestations", 0, "sha256", to="0" * 63), "sha256"),
        (_set("attestations", 0, "unknown", to=1), "'unknown' that is not known"),
        (_set("attestations", to=None), "a list of at most 256"),
        (
            _set("attestations", to=[json.loads(EXAMPLE_RECEIPT.to_json())["attestations"][0]] * 2),
            "twice",
        ),
        (_set("attestations", to=[{}] * 257), "a list of at most 256"),
        (_set("files", 0, "size", to=-1), "size"),
        (_set("files", 0, "size", to=1.0), "size"),
        (_set("files", 0, "size", to=True), "size"),
        (_set("files", 0, "size", to=1 << 61), "size"),
        (_set("files", 0, "sha256", to="0" * 63), "sha256"),
        (_set("files", 0, "pieces_root", to="0" * 63), "pieces_root"),
        (_set("files", 0, "pieces_root", to="A" * 64), "pieces_root"),
        (_set("files", 0, "pieces_root", to=False), "pieces_root"),
        (_with_root_of_nothing(), "pieces_root is given for an empty file"),
        (_set("files", to=[json.loads(EXAMPLE_RECEIPT.to_json())["files"][0]] * 2), "twice"),
        (_set("files", to={}), "a list"),
        (_set("started", to="yesterday"), "started"),
        (_set("signed_by", "expired", to=0), "true or false"),
        (_set("license", to=None), "license is not an object"),
        (_set("statement", to="x" * 5000), "at most 4096"),
        (_set("statement", to="\x1b[2J"), "control characters"),
        (_set("model", to="\ud800"), "control characters"),
    ],
)
def test_malformed_receipts_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(ReceiptError, match=reason.replace("[", r"\[")):
        parse_receipt(data)
