"""Paths that are safe everywhere, and those that would leave their directory or collide."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grokdist.catalog.paths import check_path, check_paths
from grokdist.errors import UnsafePathError

SAFE = [
    "tokenizer.model",
    "ckpt-0/tensor00000_000",
    ".gitattributes",
    "a/b/c.d/e",
    "model (final).txt",
    "naïve/größe.txt",
    "模型.bin",
    "console",
    "com10",
    "a..b",
    "...x",
    "~/x",
    "-rf",
    "x" * 240,
]

UNSAFE = {
    "": "is empty",
    "/etc/passwd": "is absolute",
    "//host/share": "is absolute",
    "..": r"has the segment '\.\.'",
    "../x": r"has the segment '\.\.'",
    "a/../../x": r"has the segment '\.\.'",
    "a/..": r"has the segment '\.\.'",
    ".": r"has the segment '\.'",
    "./a": r"has the segment '\.'",
    "a/./b": r"has the segment '\.'",
    "a//b": "has an empty segment",
    "a/": "has an empty segment",
    "a\\b": r"holds the character U\+005C",
    "..\\x": r"holds the character U\+005C",
    "C:": r"holds the character U\+003A",
    "C:/x": r"holds the character U\+003A",
    "file:stream": r"holds the character U\+003A",
    "a*": r"holds the character U\+002A",
    "a?": r"holds the character U\+003F",
    "a|b": r"holds the character U\+007C",
    "a<b": r"holds the character U\+003C",
    "a\x00b": r"holds the character U\+0000",
    "a\nb": r"holds the character U\+000A",
    "a\x1b[31m": r"holds the character U\+001B",
    "a\x7f": r"holds the character U\+007F",
    "a\x85b": r"holds the character U\+0085",
    "a\u202etxt.exe": r"holds the character U\+202E",
    "a\u2066b": r"holds the character U\+2066",
    "a\u200bb": r"holds the character U\+200B",
    "a\ufeff": r"holds the character U\+FEFF",
    "a\u2028b": r"holds the character U\+2028",
    "a\ue000": r"holds the character U\+E000",
    "a\U000e0001": r"holds the character U\+E0001",
    "\ud800": "cannot be written as UTF-8",
    "e\u0301": "is not in Unicode NFC form",
    "a ": "no space at either end",
    " a": "no space at either end",
    "a /b": "no space at either end",
    "a\u3000": "no space at either end",
    "a.": "no dot at its end",
    "a./b": "no dot at its end",
    "CON": "no Windows device name",
    "con.txt": "no Windows device name",
    "a/Nul": "no Windows device name",
    "aux.tar.gz": "no Windows device name",
    "COM1": "no Windows device name",
    "lpt9.x": "no Windows device name",
    "com\u00b9": "no Windows device name",
    "con .txt": "no Windows device name",
    "CONIN$": "no Windows device name",
    ".git/config": "no reserved directory name",
    "a/.GIT/hooks/x": "no reserved directory name",
    "GIT~1/config": "no reserved directory name",
    ".grokdist/receipt.json": "no reserved directory name",
    ".GrokDist/x": "no reserved directory name",
    "\uff0egit/x": "no reserved directory name",
    "x" * 241: "at most 240 bytes",
    "ü" * 121: "at most 240 bytes",
    "/".join("a" * 33): "at most 32",
    "/".join(["x" * 200] * 6): "at most 1024",
}

COLLIDING = [
    (["a", "a"], "collide"),
    (["a", "A"], "collide"),
    (["README.md", "readme.MD"], "collide"),
    (["straße", "STRASSE"], "collide"),
    (["ﬁle", "file"], "collide"),
    (["Å", "å"], "collide"),
    (["x²", "x2"], "collide"),
    (["\u03c2", "\u03c3"], "collide"),
    (["K", "\u212a"], "collide|is not in Unicode NFC form"),
    (["a/b", "a"], "is also the directory"),
    (["a", "a/b/c"], "is also the directory"),
    (["a/b", "A"], "is also the directory"),
    (["dir/x", "Dir/y"], "directories .* collide"),
    (["p/dir/x", "p/DIR/y"], "directories .* collide"),
    (["ok", "../no"], "has the segment"),
]


@pytest.mark.parametrize("path", SAFE)
def test_safe(path: str) -> None:
    check_path(path)


@pytest.mark.parametrize(("path", "reason"), UNSAFE.items(), ids=ascii)
def test_unsafe(path: str, reason: str) -> None:
    with pytest.raises(UnsafePathError, match=reason) as caught:
        check_path(path)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 400


def test_all_safe_paths_together() -> None:
    check_paths(SAFE)


@pytest.mark.parametrize(("paths", "reason"), COLLIDING, ids=ascii)
def test_collisions(paths: list[str], reason: str) -> None:
    with pytest.raises(UnsafePathError, match=reason):
        check_paths(paths)
    with pytest.raises(UnsafePathError, match=reason):
        check_paths(reversed(paths))


@given(st.text(alphabet=st.sampled_from("a.A/\\: ~\u0301\u202e\ud800çﬁ0con$"), max_size=12))
@example("...")
@example("a" * 5000)
def test_whatever_is_accepted_stays_below_its_directory(path: str) -> None:
    try:
        check_path(path)
    except UnsafePathError:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        pure = kind(path)
        assert not pure.is_absolute()
        assert not pure.drive
        assert ".." not in pure.parts
        assert list(pure.parts) == path.split("/")
