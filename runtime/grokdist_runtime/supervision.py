"""Ends every process of a run when one of them ends before its time.

A sum over devices waits for ever for a device that is gone, in code that no exception reaches. So
the work is done in a child: its parent stays small, watches the child and the lines to the other
processes, and ends the child as soon as one of those is lost. Must be called before JAX is
imported, since a process with threads cannot be forked safely.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any

from grokdist_runtime.rendezvous import Link, receive, send

_MAX_NEWS = 4096
_NEWS_S = 2.0
"""Seconds to wait for what happened elsewhere where that may have ended the child too."""

_FAILURE = b"\1"
"""The exit code of a child that lost touch with another process, among other things."""

_LEAVE_S = 10.0
"""Seconds that a child which failed waits for its parent to have told the others."""

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)

_parent = -1  # in a child of ``supervise`` the pipe to its parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process ended.

    Attributes:
        code: Its exit code; 1 where a signal or another process ended it.
        reason: Why, where the process itself could not say it; else empty.
        elsewhere: Whether another process was the cause.
    """

    code: int
    reason: str = ""
    elsewhere: bool = False


def supervise(link: Link) -> Ending | None:
    """Goes on in a child process, for which it returns ``None``; its parent waits for the end.

    Only process 0 prints, and only its answer: Gloo would print there how it connects.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    read_end, write_end = os.pipe()
    # One that comes before the parent can pass it on waits, or it would leave the child behind.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *_PASSED_ON))
    child = os.fork()
    if child:
        os.close(write_end)
        with contextlib.closing(link):
            return _watch(child, read_end, link, signals)
    signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    os.close(read_end)  # the write end closes when this process ends, however it does
    link.close()
    keep_output(printing=link.cluster.first)
    global _parent
    _parent = write_end
    sys.excepthook = _shown_and_left
    return None


def leave(code: int) -> None:
    """Ends a supervised child that failed, after the others were told; other processes go on.

    Left to itself JAX would wait for the others first, which may be waiting for this process; and
    were process 0 simply gone, JAX would abort the others.
    """
    if _parent < 0 or not code:
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError):
        os.write(_parent, bytes([code & 0xFF]))
        time.sleep(_LEAVE_S)  # its parent ends it
    os._exit(code)


def _shown_and_left(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    sys.__excepthook__(kind, error, trace)
    leave(1)


def keep_output(*, printing: bool) -> None:
    """Leaves standard output to ``print`` alone, or to nobody; what libraries write is dropped."""
    kept = os.dup(1) if printing else os.open(os.devnull, os.O_WRONLY)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def _watch(child: int, ended: int, link: Link, signals: set[int | signal.Signals]) -> Ending:
    def pass_on(number: int, frame: FrameType | None) -> None:
        del frame
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    # A terminal's interrupt reaches the child as well; what ends this process must end both.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for ending in _PASSED_ON:
        signal.signal(ending, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    with selectors.DefaultSelector() as watched:
        watched.register(ended, selectors.EVENT_READ, None)
        for number, peer in link.peers.items():
            watched.register(peer, selectors.EVENT_READ, number)
        reason, failed = "", b""
        while not reason:
            events = watched.select()
            if any(key.data is None for key, _ in events):
                failed = os.read(ended, 1)
                break
            reason = _news(events, watched, link)
        watched.unregister(ended)
        if failed == _FAILURE:
            reason = _awaited_news(watched, link)
        if reason or failed:
            _tell(link, reason or _own(link, failed[0]), watched)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(ended)
        if failed and not reason:
            return Ending(code=failed[0])
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGABRT and not reason:
            reason = _awaited_news(watched, link)
        if reason:
            return Ending(code=1, reason=reason, elsewhere=True)
        if code:
            reason = _own(link, code)
            _tell(link, reason, watched)
            return Ending(code=max(code, 1), reason=reason if code < 0 else "")
    for peer in link.peers.values():
        with contextlib.suppress(OSError):
            send(peer, {"done": True})
    return Ending(code=0)


def _news(events: Any, watched: selectors.BaseSelector, link: Link) -> str:
    """What other processes said: why the run is over, or nothing if it is not."""
    for key, _ in events:
        if key.data is None:
            continue
        message = receive(key.fileobj, _MAX_NEWS)
        if message is not None and message.get("done") is True:
            watched.unregister(key.fileobj)
            continue
        reason = None if message is None else message.get("failed")
        if isinstance(reason, str):
            return reason
        return f"process {key.data} of {link.cluster.processes} was lost"
    return ""


def _awaited_news(watched: selectors.BaseSelector, link: Link) -> str:
    """Why the child may have failed: JAX notices a loss sooner than it is known here."""
    deadline = time.monotonic() + _NEWS_S
    while watched.get_map() and (left := deadline - time.monotonic()) > 0:
        if reason := _news(watched.select(left), watched, link):
            return reason
    return ""


def _tell(link: Link, reason: str, watched: selectors.BaseSelector) -> None:
    """Says why the run is over; process 0 tells all, and waits until they have ended their work."""
    for peer in link.peers.values():
        with contextlib.suppress(OSError):
            send(peer, {"failed": reason[:1000]})
    deadline = time.monotonic() + _NEWS_S
    while link.cluster.first and watched.get_map() and (left := deadline - time.monotonic()) > 0:
        for key, _ in watched.select(left):
            if receive(key.fileobj, _MAX_NEWS) is None:  # type: ignore[arg-type]
                watched.unregister(key.fileobj)


def _own(link: Link, code: int) -> str:
    """How the child of this process ended, for the others."""
    own = f"process {link.cluster.process} of {link.cluster.processes}"
    if code >= 0:
        return f"{own} ended with exit code {code}"
    why = ", as the kernel does when memory runs out" if -code == signal.SIGKILL else ""
    name = {each.value: each.name for each in signal.Signals}.get(-code, f"signal {-code}")
    return f"{own} was ended by {name}{why}"
