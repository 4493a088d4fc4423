"""What travels with a copy: found by digest, written beside, never another text."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from grokdist.catalog.manifest import FileEntry, LicenseInfo, Manifest
from grokdist.catalog.registry import Registry
from grokdist.errors import StoreError
from grokdist.policy.redistribution import (
    CHANGES,
    NOTICE,
    carry_licence,
    change_notice,
    license_text,
    required_with_copy,
    write_notices,
)

CHANGE = "converted from pickled shards to safetensors"
LLAMA = (
    "Llama 3.1 is licensed under the Llama 3.1 Community License, "
    "Copyright © Meta Platforms, Inc. All Rights Reserved."
)


@pytest.fixture(scope="module")
def grok_1() -> Manifest:
    return Registry.embedded().load("grok-1").manifest


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    return source, out


def under(manifest: Manifest, expression: str, **license_fields: str | None) -> Manifest:
    """The model as if it were under another licence, with no files of its own."""
    info = LicenseInfo(expression=expression, name=expression, **license_fields)  # type: ignore[arg-type]
    return dataclasses.replace(manifest, license=info, files=())


def listing(manifest: Manifest, **files: bytes) -> Manifest:
    entries = tuple(
        FileEntry(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for path, data in files.items()
    )
    return dataclasses.replace(manifest, files=entries)


def test_what_apache_asks(grok_1: Manifest) -> None:
    required = required_with_copy(grok_1)
    assert [(each.what, each.clause) for each in required.asked] == [
        ("text", "4(a)"),
        ("notice", "4(d)"),
        ("change", "4(b)"),
    ]
    assert required.text_name == "LICENSE.txt"
    assert str(required.of("text")[0]) == (
        "Apache-2.0 (4(a)) asks to give everyone who gets a copy the text of the licence"
    )


def test_what_the_model_licences_ask(grok_1: Manifest) -> None:
    llama = required_with_copy(under(grok_1, "LicenseRef-Llama-3.1-Community"))
    assert [each.words for each in llama.of("attribution")] == [LLAMA]
    assert [each.words for each in llama.of("display")] == ["Built with Llama"]
    xai = required_with_copy(Registry.embedded().load("grok-2").manifest)
    assert [each.words for each in xai.of("display")] == ["Powered by xAI"]
    assert xai.of("attribution")[0].clause == "3"
    assert "{" not in (xai.of("attribution")[0].words or "")


def test_both_sides_of_a_choice_count_and_what_is_unknown_is_said(grok_1: Manifest) -> None:
    required = required_with_copy(under(grok_1, "MIT OR LicenseRef-Mine"))
    assert [each.expression for each in required.of("text")] == ["MIT"]
    assert required.unknown == ("LicenseRef-Mine",)
    # A name is not the licence that it is named after.
    assert required_with_copy(under(grok_1, "LicenseRef-Apache-2.0")).asked == ()


def test_a_conversion_of_grok_1_without_its_licence_file_gets_the_text(
    grok_1: Manifest, folders: tuple[Path, Path]
) -> None:
    source, out = folders
    carried = carry_licence(grok_1, source, out, change=CHANGE)
    assert carried.files == (CHANGES, "LICENSE.txt")
    assert carried.missing == ()
    digest = hashlib.sha256((out / "LICENSE.txt").read_bytes()).hexdigest()
    assert digest == grok_1.license.text_sha256
    assert (out / CHANGES).read_text() == carried.change_notice + "\n"
    assert carried.change_notice == (
        "These files were changed by grokdist: converted from pickled shards to safetensors. They"
        f" come from Grok-1 by xAI (revision {grok_1.revision}), licence Apache-2.0."
    )
    assert sorted(path.name for path in out.iterdir()) == list(carried.files)


def test_the_publishers_own_files_travel_and_only_as_listed(
    grok_1: Manifest, folders: tuple[Path, Path]
) -> None:
    source, out = folders
    manifest = listing(grok_1, LICENSE=b"theirs", NOTICE=b"by them", COPYING=b"x")
    (source / "LICENSE").write_bytes(b"theirs")
    (source / "NOTICE").write_bytes(b"by them")
    (source / "COPYING").write_bytes(b"forged")
    (source / "LICENSE-EXTRA").write_bytes(b"not listed")
    carried = carry_licence(manifest, source, out, change=CHANGE)
    assert carried.files == (CHANGES, "LICENSE", "LICENSE.txt", "NOTICE")
    assert (out / "NOTICE").read_bytes() == b"by them"


def test_llama_gets_its_notice_beside_the_publishers(
    grok_1: Manifest, folders: tuple[Path, Path]
) -> None:
    source, out = folders
    info = dataclasses.replace(
        grok_1.license, expression="LicenseRef-Llama-3.1-Community", text_sha256="ab" * 32
    )
    manifest = listing(dataclasses.replace(grok_1, license=info), NOTICE=b"first")
    (source / "NOTICE").write_bytes(b"first")
    carried = carry_licence(manifest, source, out, change=CHANGE)
    assert (out / NOTICE).read_text("utf-8") == f"first\n{LLAMA}\n"
    assert "“Built with Llama”" in (out / CHANGES).read_text("utf-8")
    assert carried.missing == (
        "LicenseRef-Llama-3.1-Community (1.b.i(A)) asks to give everyone who gets a copy the text"
        " of the licence; it was not found",
    )
    (source / "NOTICE").write_bytes(f"{LLAMA}\n".encode())
    again = carry_licence(listing(manifest, NOTICE=f"{LLAMA}\n".encode()), source, out, change="x")
    assert NOTICE in again.files
    assert (out / NOTICE).read_text("utf-8").count("Llama 3.1 is licensed") == 1


def test_another_text_is_never_taken(grok_1: Manifest, folders: tuple[Path, Path]) -> None:
    source, _ = folders
    pinned = under(grok_1, "LicenseRef-Mine", text_path="LICENSE", text_sha256="ab" * 32)
    (source / "LICENSE").write_bytes(b"something else")
    assert license_text(pinned, source) is None
    # Nor is the usual text, where the manifest names the digest of another.
    assert license_text(under(grok_1, "Apache-2.0", text_sha256="ab" * 32), source) is None
    assert license_text(under(grok_1, "MIT"), source) is None
    usual = license_text(under(grok_1, "Apache-2.0"), None)
    assert usual is not None
    assert hashlib.sha256(usual).hexdigest() == grok_1.license.text_sha256


def test_a_text_known_by_its_git_blob(folders: tuple[Path, Path]) -> None:
    source, _ = folders
    grok_2 = Registry.embedded().load("grok-2").manifest
    entry = next(each for each in grok_2.files if each.path == "LICENSE")
    data = b"blob of a test\n"
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    mine = dataclasses.replace(
        grok_2,
        license=dataclasses.replace(grok_2.license, text_sha256=None),
        files=(dataclasses.replace(entry, sha256=None, git_blob=blob),),
    )
    (source / "LICENSE").write_bytes(data)
    assert license_text(mine, source) == data
    (source / "LICENSE").write_bytes(data + b" ")
    assert license_text(mine, source) is None


def test_a_folder_that_nothing_describes(folders: tuple[Path, Path]) -> None:
    source, out = folders
    nothing = carry_licence(None, source, out, change=CHANGE)
    assert nothing.files == (CHANGES,)
    assert "has no licence text" in nothing.missing[0]
    (source / "LICENSE.md").write_bytes(b"any")
    (source / "LICENSE-big").write_bytes(b"x" * ((1 << 20) + 1))
    (source / "license-folder").mkdir()
    carried = carry_licence(None, source, out, change=CHANGE)
    assert carried.files == (CHANGES, "LICENSE.md")
    assert carried.missing == ()
    assert "not known here" in change_notice(None, CHANGE)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "LICENSE").mkdir()
    with pytest.raises(StoreError, match=r"LICENSE cannot be written: "):
        write_notices(tmp_path, [("LICENSE", b"text")])
    with pytest.raises(StoreError, match="cannot be written"):
        write_notices(tmp_path / "nowhere", [("LICENSE", b"text")])
    assert [path.name for path in tmp_path.iterdir()] == ["LICENSE"]
