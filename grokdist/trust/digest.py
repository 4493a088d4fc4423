"""Digests of file contents: which one a file is checked by, and a hasher that streams.

A file is checked by its SHA-256. Where a publisher recorded only git's object id of a small plain
file, that id (SHA-1 over ``blob <size>`` with a NUL and the content, see gitformat-pack) is checked
instead, and the SHA-256 is computed beside it so that a receipt can name it. SHA-1 is no longer
collision-proof: such a file is as certain as the publisher's own git history, not more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from grokdist.errors import ManifestError
from grokdist.trust.resumable_sha256 import ResumableSha256, Sha256State, resumable


class Algorithm(StrEnum):
    """How a content digest is computed."""

    SHA256 = "sha256"
    GIT_BLOB = "git-blob-sha1"


@dataclass(frozen=True, kw_only=True, slots=True)
class ContentDigest:
    """A digest that a file's content must have.

    Attributes:
        algorithm: how it is computed.
        hex: lower-case hex digits.
    """

    algorithm: Algorithm
    hex: str

    @classmethod
    def choose(
        cls, *, path: str, sha256: str | None, git_blob: str | None, lfs: bool
    ) -> ContentDigest:
        """Pick the digest that ``path`` is checked by.

        Raises:
            ManifestError: nothing names the content (an LFS pointer's blob id does not).
        """
        if sha256 is not None:
            return cls(algorithm=Algorithm.SHA256, hex=sha256)
        if git_blob is not None and not lfs:
            return cls(algorithm=Algorithm.GIT_BLOB, hex=git_blob)
        raise ManifestError(f"{path} has no digest of its content; expected sha256 or git_blob")

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


class StreamHasher:
    """Hashes content as it arrives; always yields the SHA-256, and git's blob id when asked.

    Args:
        algorithm: the digest that ``digest()`` returns.
        size: the content's length, which git's object header names in advance.
        keeps_state: have a ``state()`` where it is to be had; otherwise hashlib alone is used,
            so that a verification does not rest on the same calls as the fetch before it.
        state: where an earlier process stopped; see ``goes_on_from``.
    """

    def __init__(
        self,
        algorithm: Algorithm,
        size: int,
        *,
        keeps_state: bool = False,
        state: Sha256State | None = None,
    ) -> None:
        self.algorithm = algorithm
        self._sha256: ResumableSha256 | hashlib._Hash = (
            ResumableSha256(state) if keeps_state and resumable() else hashlib.sha256()
        )
        self._blob = None
        if algorithm is Algorithm.GIT_BLOB:
            self._blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    @staticmethod
    def goes_on_from(algorithm: Algorithm) -> bool:
        """True where a saved state can be used; otherwise hashing starts at the first byte."""
        return algorithm is Algorithm.SHA256 and resumable()

    def state(self) -> Sha256State | None:
        """The state at the last whole block of 64 bytes; None where it cannot be saved."""
        if self._blob is None and isinstance(self._sha256, ResumableSha256):
            return self._sha256.state()
        return None

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes; the interpreter lock is let go for large ones."""
        self._sha256.update(data)
        if self._blob is not None:
            self._blob.update(data)

    def digest(self) -> ContentDigest:
        """The digest of all bytes so far, in the algorithm chosen."""
        chosen = self._sha256 if self._blob is None else self._blob
        return ContentDigest(algorithm=self.algorithm, hex=chosen.hexdigest())

    @property
    def sha256(self) -> str:
        """SHA-256 of all bytes so far, whichever algorithm was chosen."""
        return self._sha256.hexdigest()
