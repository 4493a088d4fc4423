"""What the board of a fetch keeps count of: files wanted, claims on them, and how sources stand."""

from __future__ import annotations

from dataclasses import dataclass, field

from grokdist.catalog.manifest import FileEntry
from grokdist.transfer.part import Part, Segment
from grokdist.transfer.sources.base import Source
from grokdist.transfer.stop import Stop


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a fetch bears with sources that fail.

    Attributes:
        tries: failures in a row, without a byte in between, that end a source's turn.
        tries_unproven: the same for a source that has not delivered anything yet.
        rest: seconds of the first rest; doubled with each failure, plus or minus a quarter.
        longest_rest: seconds that a rest is never longer than.
        longest_retry_after: seconds that a source may ask us to wait.
        stall: seconds without progress after which a claim is taken back.
        slowest: bytes a second below which a stream counts as stalled.
        idle: seconds without a byte after which an idle source may take over.
    """

    tries: int = 8
    tries_unproven: int = 4
    rest: float = 0.5
    longest_rest: float = 30.0
    longest_retry_after: float = 600.0
    stall: float = 60.0
    slowest: int = 1024
    idle: float = 5.0


@dataclass(kw_only=True, slots=True, eq=False)
class Standing:
    """How a source stands, with one file or as a whole.

    Attributes:
        failures: failures in a row.
        not_before: monotonic time until which it rests.
        closed: True when it is not asked any more.
        wrong: True when that is because it delivered wrong bytes.
        permanent: True when it failed in a way that asking again cannot help.
        reason: why it failed, for people: the last time, but the first that is permanent stays.
    """

    failures: int = 0
    not_before: float = 0.0
    closed: bool = False
    wrong: bool = False
    permanent: bool = False
    reason: str = ""


@dataclass(kw_only=True, slots=True, eq=False)
class Wanted:
    """One file that is to be fetched, and how each source stands with it.

    Attributes:
        entry: the file.
        chances: how each source that may have it stands with it.
        part: its part, while it is open.
        claims: who works on it.
        alone: True where one source must bring all of it, so that it alone can be blamed.
        suspects: sources that were suspected of wrong bytes, the one on trial last.
        on_trial: the source whose bytes are being fetched again from others.
        barred: True where the source on trial would otherwise be asked.
        taken: True once every byte is here, while the file is checked and committed.
        got: the last wrong digest or size.
    """

    entry: FileEntry
    chances: dict[str, Standing]
    part: Part | None = None
    claims: set[Claim] = field(default_factory=set)
    alone: bool = False
    suspects: list[str] = field(default_factory=list)
    on_trial: str | None = None
    barred: bool = False
    taken: bool = False
    got: str = ""


@dataclass(kw_only=True, slots=True, eq=False)
class Claim:
    """One source working on one byte range of a file.

    Attributes:
        wanted: the file.
        source: the source.
        segment: the range; None until the part is open.
        stop: ends the work on it.
        stalled: True when the claim was taken back for want of progress.
        robbed: True when a helper took all that was left of it.
        received: bytes that arrived under this claim.
        watched: True while progress is expected of it.
        since: monotonic time of the start of the watch window.
        window: bytes that arrived in the watch window.
        last: monotonic time of the last byte.
        rests: rests that the source had taken when the claim was made.
        rate: bytes a second lately; None while too young to tell.
        counted: ``received`` when the rate was last taken.
    """

    wanted: Wanted
    source: Source
    segment: Segment | None = None
    stop: Stop = field(default_factory=Stop)
    stalled: bool = False
    robbed: bool = False
    received: int = 0
    watched: bool = False
    since: float = 0.0
    window: int = 0
    last: float = 0.0
    rests: int = 0
    rate: float | None = None
    counted: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceView:
    """How a source is doing, for people.

    Attributes:
        active: claims it works on.
        resting: seconds until it is asked again.
        closed: True when it is not asked any more.
        reason: its last failure as a whole.
    """

    active: int
    resting: float
    closed: bool
    reason: str
