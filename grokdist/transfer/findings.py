"""What a verification found: in full, of a sample, or of one range."""

from __future__ import annotations

from dataclasses import dataclass

from grokdist.transfer.trees import Range


@dataclass(frozen=True, kw_only=True, slots=True)
class Mismatch:
    """A file that is there and is not what the manifest names.

    Attributes:
        path: the file.
        expected: its digest or size by the manifest.
        got: what was found.
        ranges: where it differs, byte ranges of 16 KiB blocks, by the kept tree of the file;
            empty where no tree is kept, or where it does not show the difference.
    """

    path: str
    expected: str
    got: str
    ranges: tuple[Range, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled:
    """What a sample was of.

    Attributes:
        seed: draws the same sample again.
        blocks: 16 KiB blocks that were read.
        of_blocks: blocks of all files that have a tree.
        ranges: how many ranges they lie in.
        missed_at_1_percent: the probability that the sample had shown no damage if 1 % of the
            blocks had any, wherever they are.
        files: files that have a tree.
        unsigned: files among them whose root is known from the receipt only.
        without_tree: files that have none, of which only kind and size were checked.
    """

    seed: int
    blocks: int
    of_blocks: int
    ranges: int
    missed_at_1_percent: float
    files: int
    unsigned: int
    without_tree: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedRange:
    """What of one file was checked.

    Attributes:
        path: the file.
        start: first byte asked for.
        end: the byte after the last asked for.
        root: tree root that the range was held against, 64 hex digits.
        signed: True where the root is the manifest's; False where it is the receipt's, which
            whoever may write the directory may write.
    """

    path: str
    start: int
    end: int
    root: str
    signed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What a verification found.

    Attributes:
        files: files that are right, as far as they were read.
        bytes: their bytes; of a sample or a range, all bytes that were read.
        seconds: wall time.
        missing: expected paths with nothing there.
        mismatched: files that are not what the manifest names.
        extra: paths that the manifest does not list.
        sampled: what was sampled; None where everything was read.
        range: the one range that was read; None where everything was.
        trees: trees that were built and kept.
        treeless: files whose tree was to be built and could not be kept.
    """

    files: int
    bytes: int
    seconds: float
    missing: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    extra: tuple[str, ...]
    sampled: Sampled | None = None
    range: CheckedRange | None = None
    trees: int = 0
    treeless: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True where nothing is missing, wrong or extra, and at least one file was checked."""
        return self.files > 0 and not (self.missing or self.mismatched or self.extra)
