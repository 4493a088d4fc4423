"""What is lost when everything goes wrong: each fault many times, and the table of losses.

A run meets a fault, ends as it may, and is followed by one more run without the fault. Counted as
lost is every file that ever has its final name with a wrong byte in it, every file that the
second run does not bring, every receipt that is not true, and every end that is not one of the
errors of the command contract. All on loopback, with the servers and seeds of the tests.

    PYTHONPATH=.:runtime python benchmarks/faults.py                       # about two minutes
    PYTHONPATH=.:runtime python benchmarks/faults.py --runs 1 --only "redirect loop" --output -
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

from benchmarks.fault_run import Row, Run, Scenario, run_row
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sources.https import HttpsSource
from grokdist.transfer.sources.local import LocalSource
from grokdist.transfer.tree import ModelTree
from tests.servers.hub_server import Faults, HubServer, wait_until
from tests.servers.raw_server import RawServer, honest
from tests.transfer import chaos
from tests.transfer.http.test_faults import FILES, ROWS
from tests.transfer.models import QUICK_HTTP
from tests.transfer.torrent.swarms import make_model, seed, swarm_source

_ROOT = Path(__file__).resolve().parent.parent
_RESULT = _ROOT / "benchmarks/results/faults.md"
_AT_ONCE = 6
_KILLS = 5
"""Fetches killed by one run of the row: ten runs make fifty moments."""
_NOBODY = "http://127.0.0.1:9/"

_HTTP = {
    "server truncates": ("truncates", "no length, short"),
    "server drops the connection": ("resets", "nothing", "bad chunks"),
    "server stalls": ("stalls", "never answers"),
    "server answers 200 to a range": ("200 to a range",),
    "wrong Content-Range": (
        "range of others", "range too far", "range of another length", "range of another total",
        "range of junk",
    ),
    "wrong length": (
        "length too small", "length too large", "length negative", "length in words",
        "two lengths",
    ),
    "HTML error page with 200": ("web page", "web page without length"),
    "redirect loop": ("redirect loop",),
    "redirect to another host": (
        "redirect to nowhere", "redirect to a file", "redirect to junk",
    ),
    "slow-loris": ("drips", "drips headers"),
    "answer without end": (
        "endless headers", "endless header line", "endless interim answers", "endless body",
    ),
    "ETag and content change midway": ("changes midway",),
    "file larger or smaller than the manifest says": ("larger", "smaller", "empty"),
    "wrong bytes": ("wrong bytes", "poisons the connection", "garbage", "gzip"),
}  # fmt: skip


def _mirror(url: str, slots: int = 2) -> HttpsSource:
    return HttpsSource(url, slots=slots, settings=QUICK_HTTP)


def _http(names: Sequence[str]) -> Scenario:
    """Servers that do these things, beside an honest one and alone until they are mended."""

    def meet(run: Run, home: Path, _: int) -> None:
        for name in names:
            beside, alone = home / f"{name}-beside", home / f"{name}-alone"
            good = honest(FILES)
            with RawServer(ROWS[name].script) as bad, RawServer(good) as right:
                run.meet(beside, _mirror(bad.url), _mirror(right.url))
                run.once_more(beside, _mirror(right.url))
                run.meet(alone, _mirror(bad.url))
                bad.script = good
                run.once_more(alone, _mirror(bad.url))

    return meet


def _breaks_again_and_again(run: Run, home: Path, number: int) -> None:
    """Each connection breaks after a few bytes, until the server is mended."""
    after = random.Random(number).randrange(1, 60_000)
    with HubServer(FILES, faults=Faults(drop_after=after, drop_times=10**6)) as server:
        run.meet(home, _mirror(server.mirror))
        server.faults.drop_after = None
        run.once_more(home, _mirror(server.mirror))


def _garbage_from_a_peer(run: Run, home: Path, number: int) -> None:
    right, wrong = (make_model(home / name, seed=number) for name in ("right", "wrong"))
    run.files = {e.path: (right.directory / e.path).read_bytes() for e in right.entries}
    made = right.torrent()
    torrent = home / "m.torrent"
    torrent.write_bytes(made.data)
    with seed(wrong, made) as liar, seed(right, made) as good:
        # Its check found the right bytes; what it gives away are others.
        for entry in wrong.entries:
            (wrong.directory / entry.path).write_bytes(b"\xaa" * entry.size)
        alone, beside = home / "alone", home / "beside"
        run.meet(alone, swarm_source(torrent, right, alone, peers=[liar.port], stall_s=1.5))
        run.once_more(alone, swarm_source(torrent, right, alone, peers=[good.port]))
        both = [liar.port, good.port]
        run.meet(beside, swarm_source(torrent, right, beside, peers=both))
        run.once_more(beside, swarm_source(torrent, right, beside, peers=[good.port]))


def _nobody_in_the_swarm(*, tracker: bool) -> Scenario:
    def meet(run: Run, home: Path, number: int) -> None:
        model = make_model(home / "model", seed=number)
        run.files = {e.path: (model.directory / e.path).read_bytes() for e in model.entries}
        made = model.torrent()
        torrent, target = home / "m.torrent", home / "target"
        torrent.write_bytes(made.data)
        trackers = [f"{_NOBODY}announce"] if tracker else []
        with seed(model, made) as good:
            peers = [] if tracker else [9]
            lost = swarm_source(torrent, model, target, peers=peers, trackers=trackers, stall_s=1.0)
            run.meet(target, lost)
            # With a dead tracker a peer that is named is enough.
            found = swarm_source(torrent, model, target, peers=[good.port], trackers=trackers)
            run.once_more(target, found)

    return meet


def _liar_among_honest(run: Run, home: Path, number: int) -> None:
    """Sources of one file, one of which lies in every byte it sends."""
    run.files = {"f": random.Random(number).randbytes(2_000_000)}
    wrong = {"f": bytes(byte ^ 1 for byte in run.files["f"][:4096]) * 489}
    wrong["f"] = wrong["f"][:2_000_000]
    slow = Faults(throttle=4 << 20)
    with HubServer(wrong, faults=slow) as liar, HubServer(run.files, faults=slow) as good:
        run.meet(home, _mirror(liar.mirror, 1), _mirror(good.mirror, 1))
        run.once_more(home, _mirror(good.mirror))


def _names_that_collide(run: Run, home: Path, _: int) -> None:
    """A volume that tells no case apart, simulated by the look-up of names."""
    run.files = {"Folder/a": b"one", "folder/A": b"two", "b": b"three"}
    for path, data in run.files.items():
        (home / "from" / path).parent.mkdir(parents=True, exist_ok=True)
        (home / "from" / path).write_bytes(data)
    exact = ModelTree.stat

    def stat(tree: ModelTree, relative: str) -> os.stat_result | None:
        folder, _, name = relative.rpartition("/")
        with contextlib.suppress(OSError):
            for each in tree.path(folder).iterdir() if folder else tree.directory.iterdir():
                if each.name.casefold() == name.casefold():
                    return each.stat()
        return exact(tree, relative)

    with mock.patch.object(ModelTree, "stat", stat):
        run.meet(home / "to", LocalSource(home / "from"))
    run.once_more(home / "to", LocalSource(home / "from"))


@contextlib.contextmanager
def _disk(home: Path, options: str) -> Iterator[Path]:
    folder = home / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _read_only(run: Run, home: Path, _: int) -> None:
    with _disk(home, "size=64m") as folder, HubServer(FILES) as server:
        (folder / "m").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        run.meet(folder / "m", _mirror(server.mirror))
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
        run.once_more(folder / "m", _mirror(server.mirror))


def _full_disk(run: Run, home: Path, number: int) -> None:
    run.files = chaos.FILES
    whole = sum(chaos.SIZES.values())
    size = random.Random(number).randrange(1 << 20, whole)
    with _disk(home, f"size={size}") as folder, HubServer(chaos.FILES) as server:
        # There was room when the plan was made.
        with mock.patch("shutil.disk_usage", return_value=mock.Mock(free=1 << 40)):
            run.meet(folder / "m", _mirror(server.mirror))
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        run.once_more(folder / "m", _mirror(server.mirror))


def _two_at_once(run: Run, home: Path, _: int) -> None:
    with HubServer(FILES, faults=Faults(throttle=1_000_000)) as server:
        first = threading.Thread(target=run.meet, args=(home / "m", _mirror(server.mirror)))
        first.start()
        wait_until(lambda: server.log)
        run.meet(home / "m", _mirror(server.mirror))
        first.join()
        run.once_more(home / "m", _mirror(server.mirror))


def _clock_jumps(run: Run, home: Path, number: int) -> None:
    clock, jumped = time.time, [0.0]

    class Jumping(NoProgress):
        """Sets the clock with every block, a year to and fro."""

        def advance(self, source: str, path: str, count: int) -> None:
            jumped[0] = (86_400.0 * 365 if number % 2 else -86_400.0 * 365) - jumped[0]

    def jumping() -> float:
        return clock() + jumped[0]

    with (
        HubServer(FILES, faults=Faults(drop_after=70_000, drop_times=2)) as server,
        mock.patch.object(time, "time", jumping),
    ):
        run.meet(home, _mirror(server.mirror), progress=Jumping())
        run.once_more(home, _mirror(server.mirror))


def _killed(launcher: chaos.Launcher) -> Scenario:
    def meet(run: Run, home: Path, number: int) -> None:
        run.files = chaos.FILES
        draw = random.Random(number)
        slow = Faults(throttle=3 << 20)
        with HubServer(run.files, faults=slow) as one, HubServer(run.files, faults=slow) as two:
            begun = time.monotonic()
            folders = [home / str(place) for place in range(_KILLS)]
            running = [launcher.start(each, one.endpoint, two.mirror) for each in folders]
            moments = sorted(draw.uniform(0.0, 1.3) for _ in folders)
            for process, moment in zip(running, moments, strict=True):
                time.sleep(max(0.0, begun + moment - time.monotonic()))
                os.kill(process, signal.SIGKILL)
            one.faults.throttle = two.faults.throttle = None
            for folder, process in zip(folders, running, strict=True):
                ended = launcher.wait(process)
                run.ended(folder, "SIGKILL" if ended == -signal.SIGKILL else "complete")
                run.once_more(folder, _mirror(one.mirror))

    return meet


def rows(launcher: chaos.Launcher) -> list[Row]:
    """All faults, in the order of the table."""
    root = "" if os.geteuid() == 0 and sys.platform == "linux" else "needs root, to mount"
    return [
        Row(name="peer sends garbage", meet=_garbage_from_a_peer),
        Row(name="every peer dead", meet=_nobody_in_the_swarm(tracker=False)),
        Row(name="tracker dead", meet=_nobody_in_the_swarm(tracker=True)),
        *(Row(name=name, meet=_http(names)) for name, names in _HTTP.items()),
        Row(name="connection breaks again and again", meet=_breaks_again_and_again),
        Row(name="a source lies beside honest ones", meet=_liar_among_honest),
        Row(name="names that collide", meet=_names_that_collide, alone=True),
        Row(name="read-only target", meet=_read_only, needs=root),
        Row(name="disk full at a random byte", meet=_full_disk, times=5, alone=True, needs=root),
        Row(name="two fetches at once", meet=_two_at_once),
        Row(name="clock jumps a year to and fro", meet=_clock_jumps, times=2, alone=True),
        Row(
            name="SIGKILL at a random moment", meet=_killed(launcher), times=4, alone=True
        ),
    ]  # fmt: skip


def table(results: Sequence[tuple[Row, Run | None]], runs: int) -> str:
    """The page."""
    lost = sum(len(run.losses) for _, run in results if run is not None)
    met = sum(run.ends.total() for _, run in results if run is not None)
    lines = [
        "# Faults",
        "",
        f"`python benchmarks/faults.py --runs {runs}`, {datetime.now(UTC):%Y-%m-%d},"
        f" {os.cpu_count()} cores, loopback. {met} fetches met a fault, each followed by one more"
        f" without it; losses: {lost}.",
        "",
        "A loss is a file that ever had its final name with a wrong byte in it, a file that the"
        " run after",
        "did not bring, a receipt that was not true, or an end that is no error of the command"
        " contract.",
        "",
        "| fault | runs | how they ended | losses |",
        "| --- | ---: | --- | ---: |",
    ]
    for row, run in results:
        if run is None:
            lines.append(f"| {row.name} | - | left out: {row.needs} | - |")
            continue
        ends = ", ".join(f"{how} {count}" for how, count in sorted(run.ends.items()))
        lines.append(f"| {row.name} | {run.ends.total()} | {ends} | {len(run.losses)} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Meet all faults and write the table; returns 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=3, help="how often each fault is met")
    parser.add_argument("--only", help="only the faults whose names hold this")
    parser.add_argument("--output", default=str(_RESULT), help="a file, or - for stdout")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, chaos.Launcher(_ROOT) as launcher:
        home = Path(folder)
        chosen = [row for row in rows(launcher) if (options.only or "") in row.name]
        done: dict[str, Run] = {}
        todo = [row for row in chosen if not row.needs]

        def go(row: Row) -> None:
            done[row.name] = run_row(row, home, options.runs * row.times)
            lost = done[row.name].losses
            print(f"{row.name}: {done[row.name].ends.total()} runs, {len(lost)} losses",
                  *lost, sep="\n  ", file=sys.stderr)  # fmt: skip

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(go, [row for row in todo if not row.alone]))
        for row in todo:
            if row.alone:
                go(row)
    page = table([(row, done.get(row.name)) for row in chosen], options.runs)
    if options.output == "-":
        print(page)
    else:
        Path(options.output).write_text(page)
    return 1 if any(run.losses for run in done.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
