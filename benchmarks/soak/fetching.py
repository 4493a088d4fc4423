"""Fetches that are large: in files, and in bytes. A real server, the real command, its memory.

The server sends a sparse file, whose bytes are the zeros of a hole, so that its side needs no disk.
The fetch writes every byte that it was sent. Where the target's disk has not that much room, the
harness digs the zeros that were written out of the files again while the fetch runs (what
``fallocate --punch-hole`` does: the bytes stay what they are, the blocks are free), and lets the
fetch believe in the room, which it would otherwise refuse to begin without. The page says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmarks.soak.memory import peak

ROOT = Path(__file__).parents[2]
_SENDFILE = 1 << 24
_STRETCH = 1 << 26
_ZEROS = bytes(1 << 24)
_LOOK_S = 0.05
_DIG_S = 1.0
_KEEP_SIZE, _PUNCH_HOLE = 1, 2
_ROOMY = """
import shutil, sys
found = shutil.disk_usage("/")
shutil.disk_usage = lambda path: found._replace(free=1 << 50)
from grokdist.cli.main import main
sys.argv[0] = "grokdist"
main()
"""


def many_files(count: int, work: Path) -> dict[str, Any]:
    """Fetches so many files of a few hundred bytes, and verifies them."""
    source = work / "many"
    digests = {}
    for number in range(count):
        path = f"part-{number // 1000}/file-{number}"
        data = f"{number}\n".encode() * 64
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(data)
        digests[path] = (len(data), hashlib.sha256(data).hexdigest())
    return _fetch(f"{count} files", source, digests, work / "many-fetched")


def one_file(size: int, work: Path) -> dict[str, Any]:
    """Fetches one file of so many zeros, and verifies it."""
    source = work / "large"
    source.mkdir(parents=True)
    (source / "zeros").touch()
    os.truncate(source / "zeros", size)
    digest = hashlib.sha256()
    for start in range(0, size, len(_ZEROS)):
        digest.update(_ZEROS[: min(len(_ZEROS), size - start)])
    target = work / "large-fetched"
    # What is kept beside it, and what is not dug out yet, is little.
    digging = shutil.disk_usage(work).free < size + (4 << 30)
    found = _fetch("one file", source, {"zeros": (size, digest.hexdigest())}, target, dig=digging)
    return found | {"dug": digging}


def _fetch(
    name: str,
    source: Path,
    digests: Mapping[str, tuple[int, str]],
    target: Path,
    *,
    dig: bool = False,
) -> dict[str, Any]:
    """Fetches into an empty folder, verifies, and says what that took."""
    manifest = source.with_suffix(".json")
    manifest.write_text(json.dumps(_manifest(digests)), "utf-8")
    home = {"GROKDIST_HOME": str(target.with_suffix(".home"))}
    with _served(source) as url:
        argv = ["fetch", "soak", "--manifest", str(manifest), "--dir", str(target), "--json", "-q"]
        argv += ["--source", "https", "--source", url]
        fetched = _run(argv, home, dig=target if dig else None)
    argv = ["verify", str(target), "--manifest", str(manifest), "--json", "-q"]
    verified = _run(argv, home)
    return {
        "name": name,
        "files": len(digests),
        "bytes": sum(size for size, _ in digests.values()),
        "fetch": fetched,
        "verify": verified,
        "on_disk": sum(each.stat().st_blocks * 512 for each in target.rglob("*") if each.is_file()),
    }


def _run(argv: list[str], env: Mapping[str, str], *, dig: Path | None = None) -> dict[str, Any]:
    """Runs a command; how it ended, its seconds, its peak of memory, and how memory went."""
    python = [sys.executable, "-c", _ROOMY] if dig else [sys.executable, "-m", "grokdist"]
    path = f"{ROOT}{os.pathsep}{ROOT / 'runtime'}"
    begun = time.monotonic()
    child = subprocess.Popen(
        [*python, *argv],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    most, ended = 0, threading.Event()
    digger = threading.Thread(target=_dig, args=(dig, ended)) if dig else None
    if digger:
        digger.start()
    try:
        while True:
            most = max(most, peak(child.pid))
            try:
                out, err = child.communicate(timeout=_LOOK_S)
            except subprocess.TimeoutExpired:
                continue
            break
    finally:
        ended.set()
        if digger:
            digger.join()
        if child.poll() is None:
            child.kill()
            child.communicate()
    said = json.loads(out) if child.returncode == 0 else {"error": " ".join(err.split())[-300:]}
    kept = {key: said[key] for key in ("ok", "verified", "fetched_bytes", "error") if key in said}
    seconds = round(time.monotonic() - begun, 2)
    return {"exit_code": child.returncode, "seconds": seconds, "peak_bytes": most, **kept}


def _manifest(digests: Mapping[str, tuple[int, str]]) -> dict[str, Any]:
    return {
        "schema": "grokdist/manifest/v1",
        "name": "soak",
        "revision": "ab" * 20,
        "title": "Soak",
        "publisher": "Nobody",
        "role": "observer",
        "statement": "These bytes were made by a measurement.",
        "format": "grok-1-pickle",
        "summary": "no weights",
        "license": {"expression": "Apache-2.0", "name": "Apache License 2.0"},
        "components": [],
        "sources": [],
        "anchors": [],
        "files": [
            {"path": path, "size": size, "sha256": sha256}
            for path, (size, sha256) in digests.items()
        ],
    }


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """A server of a folder in a process of its own, and its address."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.soak.fetching", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'runtime'}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if child.stdout is None:
            raise RuntimeError("the server has no standard output")
        yield f"http://127.0.0.1:{int(child.stdout.readline())}/"
    finally:
        child.kill()
        child.communicate()


def _dig(folder: Path, ended: threading.Event) -> None:
    """Gives the blocks of a folder's zeros back, again and again."""
    punch = ctypes.CDLL(None, use_errno=True).fallocate
    punch.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    while not ended.wait(_DIG_S):
        for path in folder.rglob("*"):
            # Nothing else of that size is there, and nothing of that file is not zero.
            if path.is_file() and path.stat().st_blocks * 512 > 1 << 28:
                with path.open("r+b") as file:
                    size = os.fstat(file.fileno()).st_size
                    punch(file.fileno(), _PUNCH_HOLE | _KEEP_SIZE, 0, size)


def _serve(folder: Path) -> None:
    """Serves the files of a folder in ranges; prints the port, runs until it is killed."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two packets, and the second must not wait for word of the first.
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def handle(self) -> None:
            # Who has enough of a range goes away in the middle of it, or before the next.
            with contextlib.suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            path = folder / unquote(self.path).lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            size = path.stat().st_size
            first, _, last = (self.headers.get("Range") or "bytes=0-")[6:].partition("-")
            start, end = int(first), min(size, int(last) + 1 if last else size)
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("ETag", f'"{size}"')
            self.send_header("Accept-Ranges", "bytes")
            if "Range" in self.headers:
                self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.send_header("Content-Length", str(end - start))
            self.end_headers()
            with path.open("rb") as file:
                while start < end:
                    count = min(_SENDFILE, end - start)
                    sent = os.sendfile(self.connection.fileno(), file.fileno(), start, count)
                    start += sent
                    # A hole's zeros need no memory, which the fetch's own pages are to have. What
                    # is still on its way stays, and goes with what comes after it.
                    sent_from = max(0, start - _STRETCH)
                    os.posix_fadvise(
                        file.fileno(), sent_from, start - sent_from, os.POSIX_FADV_DONTNEED
                    )

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
