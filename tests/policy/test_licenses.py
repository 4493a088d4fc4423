"""Licence expressions: read, normalised, judged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokdist.errors import PolicyError
from grokdist.policy.approved_licenses import FSF_FREE, OSI_APPROVED
from grokdist.policy.licenses import identify_text, is_open_source, normalise


@pytest.mark.parametrize(
    ("expression", "normalised"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("mit or apache-2.0", "MIT OR Apache-2.0"),
        ("openmdw-1.1", "OpenMDW-1.1"),
        ("licenseref-xai-community", "LicenseRef-xAI-Community"),
        ("LicenseRef-Something-Else", "LicenseRef-Something-Else"),
        ("GPL-2.0+", "GPL-2.0-or-later"),
        (
            "(MIT AND GPL-2.0-only WITH Classpath-exception-2.0)",
            "MIT AND GPL-2.0-only WITH Classpath-exception-2.0",
        ),
    ],
)
def test_normalise(expression: str, normalised: str) -> None:
    assert normalise(expression) == normalised


@pytest.mark.parametrize(
    "expression", ["", " ", "Apache 2.0", "MIT OR", "(MIT", "AND", "MIT MIT", "()", "(" * 5000]
)
def test_what_is_no_expression(expression: str) -> None:
    with pytest.raises(PolicyError, match="cannot be read; expected an SPDX expression") as caught:
        is_open_source(expression)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("expression", "is_open"),
    [
        ("Apache-2.0", True),
        ("apache-2.0", True),
        ("MIT", True),
        ("CC-BY-4.0", True),
        ("CC0-1.0", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", True),
        ("MIT OR LicenseRef-xAI-Community", True),
        ("MIT AND LicenseRef-xAI-Community", False),
        ("MIT AND (Apache-2.0 OR BUSL-1.1)", True),
        ("LicenseRef-xAI-Community", False),
        ("LicenseRef-Apache-2.0", False),
        ("CC-BY-NC-4.0", False),
        ("BUSL-1.1", False),
        ("OpenMDW-1.0", False),
        ("llama3.1", False),
    ],
)
def test_open_source(expression: str, is_open: bool) -> None:
    assert is_open_source(expression) is is_open


def test_the_lists() -> None:
    assert {"Apache-2.0", "MIT", "BSD-3-Clause"} <= OSI_APPROVED & FSF_FREE
    assert "CC0-1.0" in FSF_FREE - OSI_APPROVED
    assert not {"CC-BY-NC-4.0", "BUSL-1.1", "JSON"} & (OSI_APPROVED | FSF_FREE)


def test_texts_are_known_by_their_bytes(repository: Path) -> None:
    text = (repository / "LICENSE").read_bytes()
    assert identify_text(text) == "Apache-2.0"
    assert identify_text(text + b"\n") is None


@given(st.text(alphabet="MITAND OR()+-.WITHx0", max_size=20))
def test_any_text_is_judged_or_refused(expression: str) -> None:
    try:
        is_open_source(expression)
    except PolicyError:
        return
    assert normalise(normalise(expression)) == normalise(expression)
