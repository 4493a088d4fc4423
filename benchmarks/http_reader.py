"""How to get at files over HTTP: rates and CPU seconds a gigabyte of four ways, written and hashed.

nginx serves files on loopback; each way reads them over a few connections, writes every block and
takes the SHA-256 beside it. The ways take turns, so that they meet the same disturbances; given
are the medians. Needs nginx.

    PYTHONPATH=.:runtime python benchmarks/http_reader.py
    PYTHONPATH=.:runtime python benchmarks/http_reader.py --size 2048 --connections 4 --runs 5
    PYTHONPATH=.:runtime python benchmarks/http_reader.py --limit 100  # a line is the bottleneck
    PYTHONPATH=.:runtime python benchmarks/http_reader.py --size 8 --files 2000  # requests are
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import queue
import random
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import urllib3

from grokdist.transfer.read_buffer import ReadBuffers
from grokdist.transfer.sources.http_direct import DirectConnections
from grokdist.transfer.stop import Stop

_BLOCK = 1 << 20
_CONFIG = """daemon off; worker_processes 2; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
server {{ listen 127.0.0.1:{port};
root {root}/www; limit_rate {limit}; }} client_body_temp_path {root}/b; proxy_temp_path {root}/p;
fastcgi_temp_path {root}/f; uwsgi_temp_path {root}/u; scgi_temp_path {root}/s; }}
"""


class Kept:
    """The connections of one reading, each way's own kind.

    Args:
        connections: how many at once.
    """

    def __init__(self, connections: int) -> None:
        self.pool = urllib3.PoolManager(maxsize=connections)
        self.direct = DirectConnections(connections, connect_timeout=10.0, read_timeout=30.0)
        self.buffers = ReadBuffers(_BLOCK)
        self.of_thread = threading.local()

    def close(self) -> None:
        """Close those that are not in use."""
        self.pool.clear()
        self.direct.close()


Blocks = Callable[[Kept, str], Iterator["bytes | memoryview"]]


def by_urllib3(kept: Kept, url: str) -> Iterator[bytes | memoryview]:
    """New bytes objects of what has come, as ``urllib3`` gives them."""
    response = kept.pool.request("GET", url, preload_content=False, decode_content=False)
    while data := response.read1(1 << 20, decode_content=False):
        yield data
    response.release_conn()


def by_stream(kept: Kept, url: str) -> Iterator[bytes | memoryview]:
    """The usual loop over ``urllib3``'s ``stream``."""
    response = kept.pool.request("GET", url, preload_content=False, decode_content=False)
    yield from response.stream(1 << 20, decode_content=False)
    response.release_conn()


def by_http_client(kept: Kept, url: str) -> Iterator[bytes | memoryview]:
    """``http.client`` into one buffer, waiting for the block to be full."""
    parts = urlsplit(url)
    connection = getattr(kept.of_thread, "connection", None)
    if connection is None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        kept.of_thread.connection = connection
    connection.request("GET", parts.path)
    response = connection.getresponse()
    with kept.buffers.lent() as buffer:
        while count := response.readinto(buffer):
            yield buffer[:count]


def by_direct(kept: Kept, url: str) -> Iterator[bytes | memoryview]:
    """``grokdist.transfer.sources.http_direct``: one buffer, from the socket, a block a call."""
    response = kept.direct.ask(url, {}, Stop())
    with kept.buffers.lent() as buffer:
        while count := response.read_into(buffer):
            yield buffer[:count]
    response.finish()


WAYS: dict[str, Blocks] = {
    "urllib3 stream": by_stream,
    "urllib3 read1": by_urllib3,
    "http.client readinto": by_http_client,
    "http_direct": by_direct,
}


def read_all(
    way: Blocks, port: int, files: int, out: Path, connections: int
) -> tuple[float, float]:
    """Read every file once; returns wall and CPU seconds."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for each in range(files):
        waiting.put(each)
    kept = Kept(connections)

    def work() -> None:
        while True:
            try:
                name = str(waiting.get_nowait())
            except queue.Empty:
                return
            digest, place = hashlib.sha256(), 0
            fd = os.open(out / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for data in way(kept, f"http://127.0.0.1:{port}/{name}"):
                os.pwrite(fd, data, place)
                digest.update(data)
                place += len(data)
            os.close(fd)

    before = resource.getrusage(resource.RUSAGE_SELF)
    begun = time.monotonic()
    threads = [threading.Thread(target=work) for _ in range(connections)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_SELF)
    kept.close()
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Serve, read, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="MiB in all (1024)")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--connections", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--limit", type=int, default=0, help="MiB/s a connection (no limit)")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if nginx is None:
        print("nginx is not installed", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        (root / "www").mkdir()
        (root / "out").mkdir()
        each_size = (arguments.size << 20) // arguments.files
        for name in range(arguments.files):
            (root / "www" / str(name)).write_bytes(random.Random(name).randbytes(each_size))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (root / "conf").write_text(
            _CONFIG.format(root=root, port=port, limit=f"{arguments.limit}m"), "utf-8"
        )
        server = subprocess.Popen([nginx, "-c", str(root / "conf")])
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    if server.poll() is not None:
                        return 1
                    time.sleep(0.05)
            _table(port, root / "out", each_size * arguments.files / 1e9, arguments)
        finally:
            server.terminate()
            server.wait(10)
    return 0


def _table(port: int, out: Path, gigabytes: float, arguments: argparse.Namespace) -> None:
    print("| way | connections | MB/s | CPU s/GB |\n|---|---|---|---|")
    for connections in arguments.connections:
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
        for _ in range(arguments.runs):
            for name, way in WAYS.items():
                taken[name].append(read_all(way, port, arguments.files, out, connections))
        for name, times in taken.items():
            rate = gigabytes * 1000 / statistics.median(wall for wall, _ in times)
            cpu = statistics.median(cpu for _, cpu in times) / gigabytes
            print(f"| {name} | {connections} | {rate:.0f} | {cpu:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
