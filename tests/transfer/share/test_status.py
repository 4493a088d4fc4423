"""The status document: what is written is read, and what makes no sense is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grokdist.errors import SourceError
from grokdist.transfer.share.content import Content
from grokdist.transfer.share.status import Status, parse_status
from tests.transfer.models import entry_of

CONTENT = Content.of([entry_of("a", b"a" * 100), entry_of("b", b"b" * 1000)])
SIZES = [file.size for file in CONTENT.files]
STATUS = Status(
    member="ab" * 16,
    port=17182,
    cursor=9,
    whole=True,
    files={0: ((0, 10), (20, SIZES[0])), 1: ()},
    takings=[(1, 5, SIZES[1])],
    skips=frozenset({0}),
    complete=True,
    able=False,
    idle=True,
    uploads=3,
    peers=[("10.0.0.2", 5), ("fe80::1", 6)],
)


def test_what_is_written_is_read() -> None:
    assert parse_status(STATUS.to_json(), CONTENT) == STATUS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("member", "AB" * 16),
        ("member", 7),
        ("port", 65536),
        ("port", True),
        ("port", "80"),
        ("cursor", -1),
        ("cursor", 1 << 62),
        ("cursor", 1.5),
        ("whole", 1),
        ("files", {}),
        ("files", [[2, 0, 1]]),
        ("files", [[-1, 0, 1]]),
        ("files", [[0, 0]]),
        ("files", [[0, 5, 5]]),
        ("files", [[0, 0, SIZES[0] + 1]]),
        ("files", [[0, 0, 10, 5, 20]]),
        ("files", [[0, *range(10_000)]]),
        ("files", [[]]),
        ("files", [[0, 0, 1]] * 3),
        ("files", [7]),
        ("takings", [[0, 1]]),
        ("takings", [[0, 9, 3]]),
        ("takings", [[0, 0, 1]] * 300),
        ("skips", [2]),
        ("skips", "all"),
        ("complete", None),
        ("uploads", -1),
        ("peers", [["8.8.8.8", 53]]),
        ("peers", [["example.org", 80]]),
        ("peers", [["10.0.0.1", 70000]]),
        ("peers", [["10.0.0.1"]]),
        ("peers", [["10.0.0.1", 1]] * 257),
    ],
)
def test_what_makes_no_sense_is_refused(key: str, value: Any) -> None:
    document = json.loads(STATUS.to_json())
    document[key] = value
    with pytest.raises(SourceError):
        parse_status(json.dumps(document).encode(), CONTENT)


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b"1e999"])
def test_what_is_no_document_is_refused(data: bytes) -> None:
    with pytest.raises(SourceError):
        parse_status(data, CONTENT)
