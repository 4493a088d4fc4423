r"""Git's object ids by arithmetic: blobs, LFS pointer blobs, trees.

A commit id binds a tree id, which binds blob ids, which for LFS files bind a SHA-256 and a size.
Formats: git's "Git Objects" chapter (SHA-1 of ``<type> <length>\0<body>``) and the Git LFS
pointer specification, version 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def blob_id(content: bytes) -> str:
    """Id of the blob with this content, 40 hex digits."""
    return _object_id("blob", content)


def lfs_pointer(sha256: str, size: int) -> bytes:
    """Text of the LFS pointer that stands for a file of ``size`` bytes with this digest."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    ).encode("ascii")


def lfs_blob_id(sha256: str, size: int) -> str:
    """Id of the pointer's blob: what a git tree lists for an LFS file."""
    return blob_id(lfs_pointer(sha256, size))


def tree_id(blobs: Mapping[str, str]) -> str:
    """Id of the tree that holds these blobs, all of mode 100644.

    Args:
        blobs: blob id by relative POSIX path; directories follow from the paths.
    """
    here: dict[str, str] = {}
    below: dict[str, dict[str, str]] = {}
    for path, blob in blobs.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = blob
        else:
            here[name] = blob
    entries = [(name.encode(), b"100644", blob) for name, blob in here.items()]
    # Git sorts a directory as if its name ended in a slash.
    entries += [(f"{name}/".encode(), b"40000", tree_id(sub)) for name, sub in below.items()]
    body = b"".join(
        mode + b" " + name.removesuffix(b"/") + b"\0" + bytes.fromhex(object_id)
        for name, mode, object_id in sorted(entries)
    )
    return _object_id("tree", body)


def _object_id(kind: str, body: bytes) -> str:
    # SHA-1 is git's object name here, checked beside a SHA-256, not a defence by itself.
    header = f"{kind} {len(body)}\0".encode("ascii")
    return hashlib.sha1(header + body, usedforsecurity=False).hexdigest()
