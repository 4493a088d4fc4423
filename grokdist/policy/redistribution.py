"""What has to go along when a copy of a model is passed on, and putting it there.

A licence may ask that its text, a NOTICE file, certain words or a mark on what was changed travel
with every copy. Which of these it asks is in ``obligations.py``; this file finds the texts, never
taking another text for the one that the manifest names, and writes them into a folder. Nothing
here judges whether somebody may pass the model on at all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from grokdist.bounded_file import TooLargeError, read_bounded
from grokdist.catalog.manifest import FileEntry, LicenseInfo, Manifest
from grokdist.policy.licenses import ids
from grokdist.policy.obligations import CopyRules, obligations_of
from grokdist.whole_file import write_whole

NOTICE = "NOTICE"
"""Name of the file with attributions, ours and the publisher's."""
CHANGES = "CHANGES.txt"
"""Name of the file that says what was changed."""
MAX_TEXT = 1 << 20
"""Largest licence text or notice that is read, in bytes."""

_TEXT_NAMES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "USE_POLICY")
_SHIPPED = {
    "Apache-2.0": "Apache-2.0.txt",
    "OpenMDW-1.0": "OpenMDW-1.0.txt",
    "OpenMDW-1.1": "OpenMDW-1.1.txt",
}
"""Licences whose text is the same for everybody and may be shipped with the package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One thing that must travel with a copy.

    Attributes:
        what: ``text``, ``notice``, ``attribution``, ``display`` or ``change``.
        expression: id of the licence that asks for it.
        clause: where it does.
        words: what to write or show; None for ``text``, ``notice`` and ``change``.
    """

    what: str
    expression: str
    clause: str
    words: str | None = None

    def __str__(self) -> str:
        sentence = {
            "text": "give everyone who gets a copy the text of the licence",
            "notice": "pass on the release's NOTICE file",
            "attribution": f"put into a NOTICE file: “{self.words}”",
            "display": f"show prominently: “{self.words}”",
            "change": "mark the files that were changed",
        }[self.what]
        return f"{self.expression} ({self.clause}) asks to {sentence}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RequiredWithCopy:
    """Everything that must travel with a copy of a release.

    Attributes:
        asked: one entry for each thing and licence.
        unknown: ids of licences of which nobody here knows what they ask.
        text_name: name that the licence text has, or should get, in the copy.
        notices: paths of the release's NOTICE files, as its manifest lists them.
    """

    asked: tuple[Asked, ...]
    unknown: tuple[str, ...]
    text_name: str
    notices: tuple[str, ...]

    def of(self, *kinds: str) -> tuple[Asked, ...]:
        """What is asked of these kinds."""
        return tuple(each for each in self.asked if each.what in kinds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Carried:
    """What was put beside a copy.

    Attributes:
        files: names of the files written, relative to the copy's folder.
        missing: a sentence for everything that is asked and could not be done here.
        change_notice: the mark to put into changed files that can hold one, such as the
            ``__metadata__`` of a safetensors file.
    """

    files: tuple[str, ...]
    missing: tuple[str, ...]
    change_notice: str


def required_with_copy(manifest: Manifest) -> RequiredWithCopy:
    """What must travel with a copy of a release, by the summaries of its licences.

    Every licence of the expression counts, also each side of an OR: a copy that has all of it is
    right whichever the receiver chooses.

    Raises:
        PolicyError: the manifest's licence is not an expression.
    """
    asked: list[Asked] = []
    unknown: list[str] = []
    for expression, known in obligations_of(manifest.license.expression).items():
        if known is None:
            unknown.append(expression)
        else:
            asked += _asked(expression, known.copy, (manifest.released or "")[:4])
    paths = [entry.path for entry in manifest.files]
    return RequiredWithCopy(
        asked=tuple(asked),
        unknown=tuple(unknown),
        text_name=Path(manifest.license.text_path or "LICENSE").name,
        notices=tuple(path for path in paths if _is_notice(path)),
    )


def license_text(manifest: Manifest, directory: Path | None) -> bytes | None:
    """The licence text of a release: from its folder, else as shipped with this package.

    Only a text with the digest that the manifest names is taken. Where it names none, the text
    that is shipped for a licence whose text is the same for everybody.

    Args:
        manifest: the release.
        directory: its folder; None where there is none.
    """
    wanted = _Digests.of(manifest)
    if directory is not None:
        named = [manifest.license.text_path] if manifest.license.text_path else []
        for name in (*named, *_top_level_texts(directory)):
            data = _read(directory / name)
            if data is not None and wanted.match(data):
                return data
    return _shipped_text(manifest.license, wanted)


def change_notice(manifest: Manifest | None, change: str) -> str:
    """The mark for changed files: what they come from, who changed them, and how.

    Args:
        manifest: the release they come from; None where that is not known.
        change: what was done, e.g. ``converted from pickled shards to safetensors``.
    """
    origin = (
        f"{manifest.title} by {manifest.publisher} (revision {manifest.revision}),"
        f" licence {manifest.license.expression}"
        if manifest is not None
        else "files whose origin and licence are not known here"
    )
    return f"These files were changed by grokdist: {change}. They come from {origin}."


def write_notices(directory: Path, texts: Iterable[tuple[str, bytes]]) -> tuple[str, ...]:
    """Write small files into a folder, each whole or not at all.

    Args:
        directory: where to.
        texts: plain names and contents.

    Returns:
        the names, sorted.

    Raises:
        StoreError: one cannot be written.
    """
    written = []
    for name, data in texts:
        write_whole(directory / name, data)
        written.append(name)
    return tuple(sorted(written))


def carry_licence(
    manifest: Manifest | None, source_dir: Path, out_dir: Path, *, change: str
) -> Carried:
    """Put beside a changed copy what its licence asks: text, notices, attribution, change notice.

    The change notice is written whatever the licence asks, since it is true and costs a line.

    Args:
        manifest: the release that was changed; None where nothing says what the folder is: then
            its licence and notice files are carried along as they are.
        source_dir: its folder.
        out_dir: the copy's folder, which exists.
        change: what was done, in words that fit ``changed by grokdist: ...``.

    Returns:
        what was written, and a sentence for each thing that is asked and is not there. Missing
        texts do not end a conversion: what is asked is asked of those who pass the copy on.

    Raises:
        StoreError: a file cannot be written.
        PolicyError: the manifest's licence is not an expression.
    """
    notice = change_notice(manifest, change)
    missing: list[str] = []
    displays: list[str] = []
    if manifest is None:
        texts = {
            name: data
            for name in _top_level_texts(source_dir)
            if (data := _read(source_dir / name)) is not None
        }
        if not texts:
            missing.append(f"{source_dir} has no licence text: nothing says what its licence asks")
    else:
        required = required_with_copy(manifest)
        texts = _listed_texts(manifest, source_dir)
        text = license_text(manifest, source_dir)
        if text is not None:
            texts[required.text_name] = text
        else:
            missing += [f"{each}; it was not found" for each in required.of("text")]
        missing += [
            f"nothing is known here of what {each} asks: read its text" for each in required.unknown
        ]
        for each in required.of("attribution"):
            texts[NOTICE] = _with_line(texts.get(NOTICE, b""), each.words or "")
        displays = [str(each) for each in required.of("display")]
    lines = [notice, *(f"{each}." for each in displays)]
    texts[CHANGES] = ("\n".join(lines) + "\n").encode()
    return Carried(
        files=write_notices(out_dir, texts.items()),
        missing=tuple(missing),
        change_notice=notice,
    )


def text_entry(name: str, data: bytes) -> FileEntry:
    """A licence text as a file of a release."""
    return FileEntry(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def _asked(expression: str, rules: CopyRules, year: str) -> list[Asked]:
    found = [
        Asked(what=what, expression=expression, clause=clause)
        for what, clause in (
            ("text", rules.text),
            ("notice", rules.notice_file),
            ("change", rules.change_notice),
        )
        if clause is not None
    ]
    for what, words in (("attribution", rules.attribution), ("display", rules.display)):
        found += [
            Asked(
                what=what,
                expression=expression,
                clause=each.clause,
                words=each.text.replace("{year}", year or "[applicable year]"),
            )
            for each in words
        ]
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Digests:
    """The digests by which a manifest names its licence text; None for what it does not say."""

    sha256: str | None
    git_blob: str | None

    @classmethod
    def of(cls, manifest: Manifest) -> _Digests:
        listed = {entry.path: entry for entry in manifest.files}
        entry = listed.get(manifest.license.text_path or "")
        return cls(
            sha256=manifest.license.text_sha256 or (entry.sha256 if entry else None),
            git_blob=entry.git_blob if entry is not None and not entry.lfs else None,
        )

    @property
    def known(self) -> bool:
        return self.sha256 is not None or self.git_blob is not None

    def match(self, data: bytes) -> bool:
        if self.sha256 is not None:
            return hashlib.sha256(data).hexdigest() == self.sha256
        if self.git_blob is not None:
            # Git's object id, for a text that is known by nothing else.
            header = b"blob %d\0" % len(data)
            return hashlib.sha1(header + data, usedforsecurity=False).hexdigest() == self.git_blob
        return False


def _shipped_text(license_info: LicenseInfo, wanted: _Digests) -> bytes | None:
    """A shipped text with the digest wanted; any of the licence where none is wanted."""
    folder = files("grokdist.policy") / "texts"
    asked = ids(license_info.expression)
    for spdx, name in _SHIPPED.items():
        data = (folder / name).read_bytes()
        if wanted.match(data) or (not wanted.known and asked == (spdx,)):
            return data
    return None


def _listed_texts(manifest: Manifest, directory: Path) -> dict[str, bytes]:
    """The licence and notice files at the top that a manifest lists and that are what it says."""
    found = {}
    for entry in manifest.files:
        if "/" not in entry.path and entry.path.upper().startswith(_TEXT_NAMES):
            data = _read(directory / entry.path)
            digests = _Digests(sha256=entry.sha256, git_blob=None if entry.lfs else entry.git_blob)
            if data is not None and digests.match(data):
                found[entry.path] = data
    return found


def _top_level_texts(directory: Path) -> list[str]:
    """Names of the licence and notice files in a folder, sorted."""
    try:
        names = sorted(entry.name for entry in directory.iterdir() if entry.is_file())
    except OSError:
        return []
    return [name for name in names if name.upper().startswith(_TEXT_NAMES)]


def _is_notice(path: str) -> bool:
    return Path(path).name.upper() in (NOTICE, f"{NOTICE}.TXT", f"{NOTICE}.MD")


def _read(path: Path) -> bytes | None:
    try:
        return read_bounded(path, MAX_TEXT)
    except (OSError, TooLargeError, ValueError):
        return None


def _with_line(data: bytes, line: str) -> bytes:
    """The notice with a line added, unless it is there."""
    if line.encode() in data:
        return data
    return data + (b"\n" if data and not data.endswith(b"\n") else b"") + line.encode() + b"\n"
