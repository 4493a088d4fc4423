"""The progress display as lines of text: from a view of one moment and the size of a terminal.

Pure, so that every width can be tested without a terminal. Lines never wrap: what does not fit is
left out, the least important first, or cut. The layout:

    fetching  12.3 of 318.2 GB  45.2 MB/s  1 h 54 min left  123/772 files
    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━────────────────────────────────────────  3.9%
      hub:xai-org/grok-1         812.3 MB   45.2 MB/s  4 connections
      torrent:5f96d43576e3         1.2 GB      0 B/s   resting 12 s: tracker dead
        ckpt-0/tensor00012_000  ━━━━━━━━━──────────  45%  188.4 of 413.0 MB
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from grokdist.cli.format import bytes_text, count_text, eta_text, plain_text, rate_text
from grokdist.cli.tally import COUNTED, TASKS, FileView, SourceView, View
from grokdist.transfer.progress import DISK, SourceCondition

_MAX_SOURCES = 6
_MAX_FILES = 4
_BRIEF_S = 0.7
"""A file that is done sooner than this is not shown: its line would only flicker."""
_NARROW = 60
_NAME = 28
_STYLES = {
    SourceCondition.RESTING: "yellow",
    SourceCondition.GIVEN_UP: "red",
    SourceCondition.BANNED: "red",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A piece of a line.

    Attributes:
        text: printable characters only.
        style: one of rich's style names, or empty.
    """

    text: str
    style: str = ""


Line = tuple[Span, ...]


def frame(view: View, *, width: int, height: int, ascii_only: bool = False) -> list[Line]:
    """The display at one moment.

    Args:
        view: what to show.
        width: columns of the terminal; no line is wider.
        height: rows of the terminal; there are fewer lines than that.
        ascii_only: draw with ASCII alone.
    """
    width = max(width, 10)
    lines = [_whole(view, width), _whole_bar(view, width, ascii_only)]
    room = max(height - 1 - len(lines), 0)
    sources = [source for source in view.sources if source.name != DISK]
    lines += _sources(sources, width, min(room, _MAX_SOURCES), ascii_only)
    room = max(height - 1 - len(lines), 0)
    files = [file for file in view.active if file.seconds >= _BRIEF_S]
    files = files if view.files and view.task not in COUNTED else []
    lines += [_file(file, width, ascii_only) for file in files[: min(room, _MAX_FILES)]]
    return lines[: max(height - 1, 1)]


def whole_parts(view: View) -> list[str]:
    """The facts of the whole, the most important first."""
    if view.task in COUNTED:
        return [f"{view.files_done}/{view.files} {COUNTED[view.task]}"]
    parts = [
        f"{bytes_text(view.done)} of {bytes_text(view.size)}",
        rate_text(view.rate),
        f"{eta_text(view.eta)} left" if view.eta is not None else "",
        f"{view.files_done}/{view.files} files" if view.files else "",
    ]
    if view.trees is not None and view.trees[0] < view.trees[1]:
        parts.append(f"trees {view.trees[0]}/{view.trees[1]}")
    return [part for part in parts if part]


def _whole(view: View, width: int) -> Line:
    text = TASKS.get(view.task, view.task)
    for part in whole_parts(view):
        if len(text) + 2 + len(part) <= width:
            text += f"  {part}"
    return (Span(text=_cut(text, width), style="bold"),)


def _whole_bar(view: View, width: int, ascii_only: bool) -> Line:
    counted = view.task in COUNTED
    share = _share(view.files_done, view.files) if counted else _share(view.done, view.size)
    percent = f"{_tenths(share):>5.1f}%"
    return (*_bar(share, width - len(percent) - 1, ascii_only), Span(text=f" {percent}"))


def _sources(sources: Sequence[SourceView], width: int, room: int, ascii_only: bool) -> list[Line]:
    if len(sources) <= room:
        return [_source(source, width, ascii_only) for source in sources]
    # Those that do something first; among equals the order stays, so that no line jumps.
    ranked = sorted(sources, key=lambda source: _QUIET.index(source.state.condition))
    chosen = {source.name for source in ranked[: max(room - 1, 0)]}
    lines = [_source(source, width, ascii_only) for source in sources if source.name in chosen]
    more = f"  and {len(sources) - len(chosen)} more sources"
    return [*lines, (Span(text=_cut(more, width), style="dim"),)][:room]


_QUIET = [
    SourceCondition.WORKING,
    SourceCondition.RESTING,
    SourceCondition.IDLE,
    SourceCondition.GIVEN_UP,
    SourceCondition.BANNED,
]


def _source(source: SourceView, width: int, ascii_only: bool) -> Line:
    name_width = min(_NAME, max(width // 3, 8))
    # A mirror's label is its kind and its address, which says the kind again.
    label = source.name.removeprefix("https:") if "://" in source.name else source.name
    columns = [_fit(_shown(label, ascii_only), name_width)]
    if width >= _NARROW:
        columns.append(f"{bytes_text(source.received):>9}")
    columns.append(f"{rate_text(source.rate):>10}")
    text = "  " + " ".join(columns) + "  "
    detail = _shown(source_text(source), ascii_only)
    style = _STYLES.get(source.state.condition, "")
    left = width - cell_len(text)
    if left < 1:
        return (Span(text=_cut(text, width)),)
    return Span(text=text), Span(text=_cut(detail, left), style=style)


def source_text(source: SourceView) -> str:
    """How a source stands, in words."""
    state = source.state
    reason = f": {state.reason}" if state.reason else ""
    match state.condition:
        case SourceCondition.BANNED:
            return f"given up for wrong bytes{reason}"
        case SourceCondition.GIVEN_UP:
            return f"given up{reason}"
        case SourceCondition.RESTING:
            again = "" if state.resumes_in is None else f" {eta_text(state.resumes_in)}"
            return f"resting{again}{reason}"
    parts = []
    if state.peers is not None:
        parts.append(count_text(state.peers, "peer"))
    elif state.connections:
        parts.append(count_text(state.connections, "connection"))
    if state.condition is SourceCondition.IDLE:
        parts.append("idle")
    return ", ".join(parts)


def _file(file: FileView, width: int, ascii_only: bool) -> Line:
    share = _share(file.done, file.size)
    known = f"{bytes_text(file.done)} of {bytes_text(file.size)}"
    facts = f" {int(share * 100):>3}%  {known}" if file.size else f"  {bytes_text(file.done)}"
    if width < _NARROW:
        facts = f" {int(share * 100):>3}%" if file.size else ""
    name_width = min(36, max((width - len(facts)) // 2, 4))
    head = "    " + _fit(_shown(file.path, ascii_only), name_width) + "  "
    room = width - cell_len(head) - len(facts)
    if room < 4 or not file.size:
        return (Span(text=_cut(head.rstrip() + facts, width), style="dim"),)
    return (
        Span(text=head, style="dim"),
        *_bar(share, min(room, 30), ascii_only),
        Span(text=facts, style="dim"),
    )


def _bar(share: float, width: int, ascii_only: bool) -> Line:
    width = max(width, 1)
    filled = int(share * width)
    full, rest = ("#", "-") if ascii_only else ("━", "─")
    colour = "green" if share >= 1 else "cyan"
    return Span(text=full * filled, style=colour), Span(text=rest * (width - filled), style="dim")


def _share(done: int, size: int) -> float:
    return min(done / size, 1.0) if size else 1.0


def _tenths(share: float) -> float:
    """Percent, never rounded up to a hundred before the end."""
    return int(share * 1000) / 10


def _shown(text: str, ascii_only: bool) -> str:
    text = plain_text(text)
    return text.encode("ascii", "backslashreplace").decode() if ascii_only else text


def _fit(text: str, width: int) -> str:
    """Text in exactly ``width`` columns; a long one loses its middle, where paths differ least."""
    if cell_len(text) <= width:
        return set_cell_size(text, width)
    if width < 8:
        return set_cell_size(text, width)
    tail = (width - 3) // 2
    end = text
    while cell_len(end) > tail:
        end = end[1:]
    return set_cell_size(set_cell_size(text, width - 3 - cell_len(end)) + "..." + end, width)


def _cut(text: str, width: int) -> str:
    """Text in at most ``width`` columns."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, width) if width < 8 else set_cell_size(text, width - 3) + "..."
