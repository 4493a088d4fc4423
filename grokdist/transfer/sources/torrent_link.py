"""What a person may write where a torrent is meant: a file, a magnet link, or a bare infohash.

Pure, and light: the command line asks this before libtorrent is loaded.
"""

from __future__ import annotations

import base64
import re

_HEX = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
_BASE32 = re.compile(r"[A-Za-z2-7]{32}")


def magnet_of(text: str) -> str:
    """The magnet link of a bare infohash; anything else (a link, a path) as it was.

    Args:
        text: 40 hex digits or 32 base32 characters (v1), or 64 hex digits (v2, BEP 52).
    """
    if _HEX.fullmatch(text):
        kind = "btih:" if len(text) == 40 else "btmh:1220"
        return f"magnet:?xt=urn:{kind}{text.lower()}"
    if _BASE32.fullmatch(text):
        return f"magnet:?xt=urn:btih:{base64.b32decode(text.upper()).hex()}"
    return text
