"""Progress on stderr: a live display on a terminal, a line every ten seconds elsewhere.

Nothing is shown when quiet. What is shown comes from a ``Tally``; the picture is made by
``frame``; here it only reaches the stream.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from grokdist.cli.format import bytes_text, eta_text, plain_text, rate_text
from grokdist.cli.output import Output
from grokdist.cli.tally import COUNTED, LOAD, TASKS, TREES, Tally, View
from grokdist.transfer.progress import DISK, NoProgress, Progress, SourceState, Together

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

_LINE_EVERY_S = 10.0
_FRAMES_A_SECOND = 4
_NOTES_KEPT = 1000
_SOON_OVER_S = 1.0


@contextlib.contextmanager
def showing(out: Output, *others: Progress) -> Iterator[Progress]:
    """The listener for the ``with``; takes its display away also when the work inside fails.

    Args:
        out: where it is shown.
        others: more listeners, told the same.
    """
    progress = Together(progress_for(out), *others) if others else progress_for(out)
    try:
        yield progress
    finally:
        progress.end()


@contextlib.contextmanager
def showing_load(out: Output) -> Iterator[Callable[[int, int], None]]:
    """Shows a load that takes longer than a second, on a terminal only.

    Yields:
        What to tell of bytes read since it was last told, and of how many will be read in all.
    """
    live = LiveProgress(out)
    started, done, shown = time.monotonic(), 0, False

    def on_bytes(count: int, total: int) -> None:
        nonlocal done, shown
        done += count
        if shown:
            live.advance(DISK, "", count)
        elif time.monotonic() - started >= _SOON_OVER_S:
            shown = True
            live.begin(LOAD, files=0, size=total, have=done)

    try:
        yield on_bytes if out.interactive else _unheard
    finally:
        live.end()


def _unheard(count: int, total: int) -> None:
    """Nothing is shown."""


def progress_for(out: Output) -> Progress:
    """The listener that fits where stderr goes."""
    if out.quiet:
        return NoProgress()
    return LiveProgress(out) if out.interactive else LineProgress(out)


class _Notes:
    """Which notes were said: four connections that meet one trouble need to say it once."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def new(self, message: str) -> bool:
        """True the first time; forgets once there are too many to keep."""
        with self._lock:
            if message in self._said:
                return False
            if len(self._said) >= _NOTES_KEPT:
                self._said.clear()
            self._said.add(message)
            return True


class LineProgress(Tally):
    """One line every ten seconds, for logs and pipes."""

    def __init__(self, out: Output) -> None:
        """Report through ``out``."""
        super().__init__(lambda: time.monotonic())
        self._out = out
        self._said = self._clock()
        self._notes = _Notes()

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Start a stage."""
        super().begin(task, files=files, size=size, have=have)
        self._said = self._clock()

    def claim(self, source: str, path: str, offset: int) -> None:
        """Tell which source works on a file, when verbose."""
        super().claim(source, path, offset)
        if source != DISK:
            self._out.detail(f"{source}: {path}" + (f" from byte {offset}" if offset else ""))

    def advance(self, source: str, path: str, count: int) -> None:
        """Count bytes; say a line if the last one is long ago."""
        super().advance(source, path, count)
        self._say()

    def source(self, name: str, state: SourceState) -> None:
        """Keep how a source stands; also where nothing arrives, a line says so."""
        super().source(name, state)
        self._say()

    def trees(self, done: int, files: int) -> None:
        """Keep how far the trees are."""
        super().trees(done, files)
        self._say()

    def note(self, message: str) -> None:
        """Pass on what the engine has to say."""
        if self._notes.new(message):
            self._out.note(plain_text(message))

    def _say(self) -> None:
        now = self._clock()
        with self._lock:
            if now - self._said < _LINE_EVERY_S:
                return
            self._said = now
        self._out.note(line(self.view()))


def line(view: View) -> str:
    """A moment of a stage in one line."""
    if view.task in COUNTED:
        return f"{TASKS[view.task]} {view.files_done}/{view.files} {COUNTED[view.task]}"
    parts = [
        f"{TASKS.get(view.task, view.task)} {view.files_done}/{view.files} files",
        f"{bytes_text(view.done)} of {bytes_text(view.size)}",
        rate_text(view.rate),
    ]
    if view.eta is not None:
        parts.append(f"{eta_text(view.eta)} left")
    for source in view.sources:
        if source.name != DISK:
            peers = source.state.peers
            parts.append(
                f"{plain_text(source.name)} {bytes_text(source.received)}"
                + (f" from {peers} peers" if peers is not None else "")
            )
    return ", ".join(parts)


class LiveProgress(Tally):
    """A display that redraws itself: the whole, a line a source, the files at work."""

    def __init__(self, out: Output) -> None:
        """Report through ``out``; rich is imported where the display starts."""
        super().__init__()
        self._out = out
        self._console: Console | None = None
        self._live: Live | None = None
        self._notes = _Notes()

    def begin(self, task: str, *, files: int, size: int, have: int) -> None:
        """Show a new stage."""
        self.end()
        super().begin(task, files=files, size=size, have=have)
        self._show()

    def trees(self, done: int, files: int) -> None:
        """Show how far the trees are, also when nothing else is going on."""
        super().trees(done, files)
        if self.view().task != TREES:
            return
        if done == files:
            self.end()
        elif self._live is None:
            self._show()

    def note(self, message: str) -> None:
        """Print above the display."""
        if not self._notes.new(message):
            return
        text = plain_text(message)
        if self._live is not None and self._console is not None:
            encoding = self._console.encoding
            self._console.print(text.encode(encoding, "backslashreplace").decode(encoding))
        else:
            self._out.note(text)

    def end(self) -> None:
        """Take the display away."""
        super().end()
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=_FRAMES_A_SECOND,
            transient=True,
            # Standard output is for the result, whatever is drawn on standard error.
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def _render(self) -> Text:
        from rich.text import Text

        from grokdist.cli.frame import frame

        text = Text(no_wrap=True, overflow="crop", end="")
        if self._console is None:
            return text
        width, height = self._console.size
        ascii_only = not self._console.encoding.startswith("utf")
        lines = frame(self.view(), width=width, height=height, ascii_only=ascii_only)
        for place, each in enumerate(lines):
            text.append("\n" if place else "")
            for span in each:
                text.append(span.text, span.style or None)
        return text
