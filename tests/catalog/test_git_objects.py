"""Git's arithmetic, against ids that git itself gives."""

from __future__ import annotations

from grokdist.catalog.git_objects import blob_id, lfs_blob_id, lfs_pointer, tree_id


def test_blobs() -> None:
    assert blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert blob_id(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


def test_trees() -> None:
    assert tree_id({}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
    one = blob_id(b"version 1\n")
    assert one == "83baae61804e65cc73a7201a7252750c76066a30"
    assert tree_id({"test.txt": one}) == "d8329fc1cc938780ffdd9f94e0d364e0ea74f579"


def test_a_directory_sorts_as_if_it_ended_in_a_slash() -> None:
    # Ids made with `git hash-object` and `git write-tree`.
    empty = blob_id(b"")
    paths = {"a/x": empty, "a-b": empty, "a0": empty}
    assert tree_id(paths) == EXPECTED_MIXED
    assert tree_id(dict(reversed(paths.items()))) == EXPECTED_MIXED


def test_an_lfs_pointer() -> None:
    digest = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
    assert lfs_pointer(digest, 12345) == (
        b"version https://git-lfs.github.com/spec/v1\n"
        b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
        b"size 12345\n"
    )
    assert lfs_blob_id(digest, 12345) == blob_id(lfs_pointer(digest, 12345))


EXPECTED_MIXED = "0e6b6d1e3e027628c9a834008acf4634433b5315"
