"""Proofs that two members hold the same key, without sending it.

The key is a secret that the user gave to every machine. A request is signed with the time, so
that one who listens can use it again only for the same bytes and only for some minutes; what the
bytes are is public on the wire. Without a key everyone on the local network may read.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time

AGE = 300.0
"""Seconds by which two clocks may differ."""
LEAST_KEY = 16
_HEADER = re.compile(r"GROKDIST time=(\d{1,12}), mac=([0-9a-f]{64})")


class ShareKey:
    """A shared secret.

    Args:
        secret: at least 16 characters of the user's choice.

    Raises:
        ValueError: it is shorter.
    """

    def __init__(self, secret: str) -> None:
        if len(secret) < LEAST_KEY:
            raise ValueError(f"a share key has at least {LEAST_KEY} characters, got {len(secret)}")
        self._key = hashlib.sha256(b"grokdist share key 1\n" + secret.encode()).digest()

    def mac(self, *fields: str) -> str:
        """A signature over fields, 64 hex digits."""
        text = "".join(f"{len(field.encode())}:{field}," for field in fields)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def matches(self, mac: str, *fields: str) -> bool:
        """True where ``mac`` is the signature over the fields."""
        return hmac.compare_digest(mac.encode(), self.mac(*fields).encode())

    def authorize(self, target: str, ranged: str) -> str:
        """The value of the ``Authorization`` header for a request."""
        now = str(int(time.time()))
        return f"GROKDIST time={now}, mac={self.mac('request', target, ranged, now)}"

    def admits(self, header: str, target: str, ranged: str) -> bool:
        """True where the header proves the key for this request, and not long ago."""
        match = _HEADER.fullmatch(header)
        if match is None or abs(time.time() - int(match[1])) > AGE:
            return False
        return self.matches(match[2], "request", target, ranged, match[1])
