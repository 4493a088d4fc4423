"""``grokdist demo``: the whole story on this machine, over a real swarm, in under a minute."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from grokdist.api.verified import BUNDLED
from grokdist.cli import options
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import duration_text
from grokdist.cli.output import Output
from grokdist.errors import GrokdistError

_STEP_TIMEOUT_S = 300


class DemoError(GrokdistError):
    """A step of the demonstration did not end as it must."""


def demo(
    prompt: Annotated[str, typer.Option(help="Text to continue.")] = "To be, or not to be",
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the whole story on this machine: swarm, verify, run, tamper, refuse."""
    import grokdist
    from grokdist.catalog.registry import Registry
    from grokdist.transfer.seeding import Seeder
    from grokdist.transfer.sources.torrent_settings import SwarmSettings
    from grokdist.transfer.torrent_create import create_torrent
    from grokdist.transfer.tracker import Tracker

    out = Output(json=json, quiet=quiet, verbose=verbose)
    begun = time.monotonic()
    bundled = Path(grokdist.__file__).parent / "bundled" / BUNDLED
    manifest = Registry.embedded().load(BUNDLED).manifest
    with tempfile.TemporaryDirectory(prefix="grokdist-demo-") as folder, Tracker() as tracker:
        work = Path(folder)
        created = create_torrent(
            bundled,
            [entry.path for entry in manifest.files],
            name=BUNDLED,
            trackers=[tracker.url],
        )
        torrent = work / f"{BUNDLED}.torrent"
        torrent.write_bytes(created.data)
        settings = SwarmSettings.on_loopback()
        with Seeder(created.data, bundled, settings=settings) as seeder:
            out.note(f"A tracker at {tracker.url} and a seeder on 127.0.0.1:{seeder.port} are up.")
            story = _Story(work, out)
            fetch = [
                "fetch", BUNDLED, "--source", "torrent",
                "--torrent", str(torrent), "--tracker", tracker.url, "--dir", str(work / BUNDLED),
            ]  # fmt: skip
            target = str(work / BUNDLED)
            run = ["run", "--model", target, "--seed", "1", "--max-tokens", "64", prompt]
            story.step("Fetch it over BitTorrent; every byte is hashed as it arrives.", fetch)
            story.step("Prove it again, offline.", ["verify", target])
            story.step("Run it.", run)
            shard = _flip_a_byte(work / BUNDLED)
            story.say(f"Now one byte of {shard} is flipped.")
            story.step("Verify names the file.", ["verify", target], ExitCode.DIGEST)
            story.step("Run refuses it.", run, ExitCode.DIGEST)
            story.step("Repair fetches only what is bad.", [*fetch, "--repair"])
            story.step("And it is whole again.", ["verify", target])
    seconds = time.monotonic() - begun
    out.result(
        {"ok": True, "seconds": round(seconds, 1), "steps": story.steps},
        f"The demo is over after {duration_text(seconds)}; nothing of it is left behind.",
    )


class _Story:
    """Runs the real commands as a person would, with a home of their own."""

    def __init__(self, work: Path, out: Output) -> None:
        self._out = out
        self.steps: list[dict[str, object]] = []
        self._env = {
            **os.environ,
            "GROKDIST_HOME": str(work / "home"),
            "GROKDIST_CONFIG": str(work / "none.toml"),
            # The children run the code that this process runs, wherever it came from, and not
            # what a folder named grokdist in the working directory may hold.
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONSAFEPATH": "1",
        }

    def say(self, text: str) -> None:
        """Tell what happens next."""
        self._out.note(f"\n# {text}")

    def step(self, text: str, argv: list[str], expected: ExitCode = ExitCode.OK) -> None:
        """Run one command and hold it to the exit code it must end with.

        Raises:
            DemoError: it ended otherwise.
        """
        self.say(text)
        self._out.note(f"$ grokdist {shlex.join(argv)}")
        try:
            child = subprocess.run(  # noqa: S603  # our own interpreter and arguments
                [sys.executable, "-m", "grokdist", *argv],
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_STEP_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"'grokdist {argv[0]}' took over {_STEP_TIMEOUT_S} seconds") from error
        for stream in (child.stderr, child.stdout):
            if stream.strip():
                self._out.note(stream.rstrip())
        self.steps.append({"argv": argv, "exit_code": child.returncode})
        if child.returncode != expected:
            raise DemoError(
                f"'grokdist {argv[0]}' ended with {child.returncode}; expected {int(expected)}"
                + (f": {child.stderr.strip()[-500:]}" if self._out.quiet else "")
            )
        if expected:
            self._out.note(f"(exit code {child.returncode}, as it must be)")


def _flip_a_byte(directory: Path) -> str:
    """Flip one bit in the middle of the largest shard; returns its path in the model."""
    shard = max(directory.glob("ckpt-0/*"), key=lambda path: path.stat().st_size)
    with shard.open("r+b") as file:
        file.seek(shard.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    return shard.relative_to(directory).as_posix()
