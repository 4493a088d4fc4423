"""What counts as an infohash, and what is left as it is."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from grokdist.errors import SourceError
from grokdist.transfer.sources.torrent_invitation import Invitation
from grokdist.transfer.sources.torrent_link import magnet_of

V1, V2 = "0123456789abcdef" * 2 + "01234567", "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "magnet"),
    [
        (V1, f"magnet:?xt=urn:btih:{V1}"),
        (V1.upper(), f"magnet:?xt=urn:btih:{V1}"),
        (V2, f"magnet:?xt=urn:btmh:1220{V2}"),
        (base64.b32encode(bytes.fromhex(V1)).decode(), f"magnet:?xt=urn:btih:{V1}"),
        (base64.b32encode(bytes.fromhex(V1)).decode().lower(), f"magnet:?xt=urn:btih:{V1}"),
    ],
)
def test_infohash(text: str, magnet: str) -> None:
    assert magnet_of(text) == magnet
    assert Invitation(text).infohash == (V2 if len(text) == 64 else V1)


@pytest.mark.parametrize("text", ["", "a.torrent", V1[:-1], V1 + "g", "magnet:?xt=urn:btih:" + V1])
def test_anything_else_stays(text: str) -> None:
    assert magnet_of(text) == text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot read the torrent file"):
        Invitation(tmp_path / V1[:-1])
