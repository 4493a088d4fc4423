"""Fetch all of Grok-1's checkpoint from stand-ins: 770 files, 318 GB, wrong bytes, bounded memory.

A server on loopback holds sparse files of the true sizes and announces the manifest's digests, so
that every byte is sent, hashed and found wrong. Shows that nothing in the engine grows with the
bytes or the files, and that each of the 770 mismatches is said. The disk's room is not asked for:
a wrong file is thrown away before the next ones need its place.

    PYTHONPATH=.:runtime python benchmarks/full_scale.py            # all, 10 to 20 minutes
    PYTHONPATH=.:runtime python benchmarks/full_scale.py --files 40
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from grokdist.catalog.registry import Registry
from grokdist.errors import DigestMismatchError
from grokdist.transfer.engine import fetch
from grokdist.transfer.plan import FetchRequest, make_plan
from grokdist.transfer.progress import NoProgress
from grokdist.transfer.sources.hub import HubSource

_REPOSITORY = "xai-org/grok-1"
_SENDFILE = 1 << 24


class Counted(NoProgress):
    """Counts bytes and the files that were said to be wrong."""

    def __init__(self) -> None:
        self.bytes = 0
        self.notes: list[str] = []
        self._said = time.monotonic()

    def advance(self, source: str, path: str, count: int) -> None:
        """Count; a line a minute."""
        self.bytes += count
        if time.monotonic() - self._said > 60:
            self._said = time.monotonic()
            print(f"{self.bytes / 1e9:.1f} GB, {len(self.notes)} notes", file=sys.stderr)

    def note(self, message: str) -> None:
        """Keep what the engine says."""
        self.notes.append(message)


def serve(folder: Path) -> None:
    """Serve the sparse files of ``folder`` as the Hub would; prints the port, runs until killed."""
    digests = json.loads((folder / "digests.json").read_text("utf-8"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            path = unquote(self.path).split("/resolve/", 1)[-1].partition("/")[2]
            size = (folder / path).stat().st_size
            start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("X-Linked-Etag", f'"{digests[path]}"')
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("Content-Length", str(size - start))
            self.end_headers()
            with (folder / path).open("rb") as file:
                while start < size:
                    start += os.sendfile(
                        self.connection.fileno(), file.fileno(), start, min(_SENDFILE, size - start)
                    )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def main() -> None:
    """Make the stand-ins, fetch them, print what happened."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=770)
    parser.add_argument("--serve", type=Path)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    trusted = Registry.embedded().load("grok-1")
    entries = [each for each in trusted.manifest.files if each.lfs][: options.files]
    with tempfile.TemporaryDirectory(prefix="full-scale-") as name:
        folder = Path(name)
        (folder / "hub/ckpt-0").mkdir(parents=True)
        for entry in entries:
            (folder / "hub" / entry.path).touch()
            os.truncate(folder / "hub" / entry.path, entry.size)
        digests = {entry.path: entry.sha256 for entry in entries}
        (folder / "hub/digests.json").write_text(json.dumps(digests), "utf-8")
        child = subprocess.Popen(
            [sys.executable, __file__, "--serve", str(folder / "hub")], stdout=subprocess.PIPE
        )
        try:
            assert child.stdout is not None  # noqa: S101
            endpoint = f"http://127.0.0.1:{int(child.stdout.readline())}"
            run(trusted, [entry.path for entry in entries], endpoint, folder / "model")
        finally:
            child.terminate()
            child.wait(10)


def run(trusted: object, paths: list[str], endpoint: str, directory: Path) -> None:
    """Fetch the paths and print the figures as JSON."""
    usage = shutil.disk_usage("/")
    shutil.disk_usage = lambda _: usage._replace(free=1 << 50)  # type: ignore[assignment]
    request = FetchRequest(trusted=trusted, directory=directory, include=tuple(paths))  # type: ignore[arg-type]
    plan = make_plan(request, [HubSource(_REPOSITORY, endpoint=endpoint, slots=4)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counted = Counted()
    begun = time.monotonic()
    try:
        fetch(plan, counted)
        said = "nothing: this is wrong"
    except DigestMismatchError as error:
        said = str(error)
    seconds = time.monotonic() - begun
    cpu = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "files": len(plan.files),
                "bytes": plan.size,
                "received": counted.bytes,
                "seconds": round(seconds, 1),
                "MB_per_s": round(counted.bytes / seconds / 1e6, 1),
                "cpu_seconds": round(cpu.ru_utime + cpu.ru_stime, 1),
                "peak_rss_MB": round(cpu.ru_maxrss / 1024, 1),
                "grown_MB": round((cpu.ru_maxrss - before) / 1024, 1),
                "left_in_model": sum(1 for each in directory.glob("ckpt-0/*")),
                "said": said,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
