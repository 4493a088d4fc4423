"""nginx as plain HTTP server and as a stand-in for the Hub, over the same files.

The Hub's front is static too: the listing, the commit and each file's digest are known before.
So every client gets its bytes from the same sendfile, and none waits for a slow stand-in.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.fetch.network import Island, free_port
from benchmarks.fetch.payload import COMMIT, Payload

_ISLAND_PORT = 18180

_MAIN = """\
{user}worker_processes {cores};
daemon off;
master_process on;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  sendfile_max_chunk 2m;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 1000000;
  open_file_cache max=20000 inactive=600s;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  default_type application/octet-stream;
  map_hash_max_size 65536;
  map_hash_bucket_size 256;
  map $uri $digest {{ default ""; include {home}/digests.conf; }}
  server {{
    listen {address}:{port} backlog=1024;
{locations}  }}
}}
"""

_LOCATIONS = """\
    location /{name}/ {{ alias {directory}/; }}
    location /{repository}/resolve/{commit}/ {{
      alias {directory}/;
      etag off;
      add_header X-Repo-Commit {commit};
      add_header ETag $digest;
      add_header X-Linked-Etag $digest;
    }}
    location /api/models/{repository} {{
      default_type application/json;
      root {home}/{name};
      error_page 405 =200 $uri;
      try_files /info.json =404;
    }}
    location /api/models/{repository}/tree/ {{
      default_type application/json;
      root {home}/{name};
      try_files /tree.json =404;
    }}
"""


class Web:
    """A running nginx; use it in a ``with``.

    Args:
        payloads: what it serves.
        home: a folder for its own files.
        address: where it listens.
        island: the namespace it runs in; this one where None.
    """

    def __init__(
        self, payloads: Sequence[Payload], *, home: Path, address: str, island: Island | None = None
    ) -> None:
        port = _ISLAND_PORT if island is not None else free_port(address)
        self.endpoint = f"http://{address}:{port}"
        self._home = home
        self._island = island
        self._process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        for payload in payloads:
            self._describe(payload)
        rows = [
            f'/{payload.repository}/resolve/{COMMIT}/{entry.path} "\\"{entry.sha256}\\"";\n'
            for payload in payloads
            for entry in payload.files
        ]
        (home / "digests.conf").write_text("".join(rows), "utf-8")
        locations = "".join(
            _LOCATIONS.format(
                name=each.name,
                repository=each.repository,
                directory=each.directory,
                commit=COMMIT,
                home=home,
            )
            for each in payloads
        )
        text = _MAIN.format(
            user="user root;\n" if os.geteuid() == 0 else "",
            cores=os.cpu_count(),
            home=home,
            address=address,
            port=port,
            locations=locations,
        )
        (home / "nginx.conf").write_text(text, "utf-8")

    def __enter__(self) -> Self:
        command = ["nginx", "-c", str(self._home / "nginx.conf"), "-p", str(self._home)]
        command += ["-e", str(self._home / "error.log")]
        if self._island is not None:
            command = self._island.inside(command)
        self._process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._home / "error.log").read_text("utf-8")[-1000:])
            time.sleep(0.05)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)

    def url(self, payload: Payload) -> str:
        """Where the payload's paths begin."""
        return f"{self.endpoint}/{payload.name}/"

    def _answers(self) -> bool:
        try:
            # The one request that this module makes itself goes to its own server.
            with urllib.request.urlopen(f"{self.endpoint}/", timeout=1):  # noqa: S310
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def _describe(self, payload: Payload) -> None:
        folder = self._home / payload.name
        folder.mkdir(exist_ok=True)
        rows = [
            {
                "type": "file",
                "path": entry.path,
                "size": entry.size,
                "oid": entry.git_blob,
                "lfs": {"oid": entry.sha256, "size": entry.size, "pointerSize": 134},
            }
            for entry in payload.files
        ]
        info = {"id": payload.repository, "sha": COMMIT, "siblings": []}
        (folder / "tree.json").write_text(json.dumps(rows), "utf-8")
        (folder / "info.json").write_text(json.dumps(info), "utf-8")
