"""The library that hashes many messages at once, built once for a process of tests."""

from __future__ import annotations

import functools
import os
import tempfile
from unittest import mock

import pytest

from grokdist.trust import sha256_build
from grokdist.trust.sha256_of_many import Sha256OfMany, in_use, use


@functools.cache
def _built() -> tuple[Sha256OfMany | None, str, tempfile.TemporaryDirectory[str]]:
    home = tempfile.TemporaryDirectory()
    before = in_use()
    try:
        with mock.patch.dict(os.environ, GROKDIST_HOME=home.name):
            reason = sha256_build.build()
        return in_use(), reason, home
    finally:
        use(before)


def sha256_of_many() -> Sha256OfMany:
    """The library; the test is left out where this machine cannot have it."""
    library, reason, _ = _built()
    if library is None:
        pytest.skip(f"many messages are hashed one after the other: {reason}")
    return library
