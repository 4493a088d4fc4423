"""Who fetches over HTTP, each with the settings that made it fastest here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.fetch.contest import Contestant, grokdist, own_home
from benchmarks.fetch.payload import COMMIT, Payload
from benchmarks.fetch.tools import Peers, missing
from benchmarks.fetch.web import Web

CURL = "curl"
ARIA2 = "aria2c"
HF = "hf download, 8 workers"
GROKDIST = "grokdist, https"
NO_TREES = "grokdist, https, --no-trees"
PLAIN = "plain reader"
"""As little as receiving, hashing and writing takes: no sync, no trees, nothing to go on from."""
DURABLE = "plain reader, durable"
"""The same, with every file on the disk at its exit."""
_CURL_SYNC = 'curl -s -K "$0" && find "$1" -type f -exec sync {} +'
VERIFIED = '"verified": true'
"""What a fetch prints when every file is right, in place and in the receipt; trees may follow."""


def http_clients(payload: Payload, web: Web, peers: Peers, home: Path) -> list[Contestant]:
    """All contestants for one payload."""
    url = web.url(payload)
    offline = {
        "HF_ENDPOINT": web.endpoint,
        "HF_HOME": str(home / "hf-home"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    reader = [sys.executable, "-m", "benchmarks.fetch.plain_reader", str(payload.manifest), url]
    return [
        Contestant(
            name=CURL,
            checks="nothing",
            command=lambda out: ["curl", "-s", "-K", str(_curl_list(payload, url, out, home))],
            missing=missing("curl"),
        ),
        Contestant(
            name="curl, then sync",
            checks="nothing, fsync",
            command=lambda out: [
                "sh",
                "-c",
                _CURL_SYNC,
                str(_curl_list(payload, url, out, home)),
                str(out),
            ],
            missing=missing("curl"),
        ),
        Contestant(
            name="curl, 2 at once",
            checks="nothing",
            command=lambda out: [
                *("curl", "-s", "-Z", "--parallel-max", "2"),
                *("-K", str(_curl_list(payload, url, out, home))),
            ],
            missing=missing("curl"),
        ),
        Contestant(
            name=ARIA2,
            checks="nothing",
            command=_aria2(payload, url, home, checked=False),
            missing=missing("aria2c"),
        ),
        Contestant(
            name="aria2c, checksum=sha-256",
            checks="SHA-256, second read",
            command=_aria2(payload, url, home, checked=True),
            missing=missing("aria2c"),
        ),
        *(
            Contestant(
                name=f"hf download, {workers} workers",
                checks="nothing",
                command=_hf(payload, peers, workers),
                environment=offline,
                missing=peers.missing,
            )
            for workers in (2, 8)
        ),
        Contestant(
            name="plain reader, unchecked",
            checks="nothing",
            command=lambda out: [*reader, str(out), "--unchecked"],
        ),
        Contestant(
            name=PLAIN,
            checks="SHA-256 as it arrives",
            command=lambda out: [*reader, str(out)],
        ),
        Contestant(
            name=DURABLE,
            checks="SHA-256 as it arrives, fsync",
            command=lambda out: [*reader, str(out), "--durable"],
        ),
        Contestant(
            name=GROKDIST,
            checks="SHA-256 as it arrives, fsync, trees behind it",
            says=VERIFIED,
            command=lambda out: fetching(payload, out, "--source", url),
            environment=own_home(home),
        ),
        Contestant(
            name=NO_TREES,
            checks="SHA-256 as it arrives, fsync",
            command=lambda out: fetching(payload, out, "--source", url, "--no-trees"),
            environment=own_home(home),
        ),
        Contestant(
            name="grokdist, hub",
            checks="SHA-256 as it arrives, fsync, trees behind it",
            says=VERIFIED,
            command=lambda out: fetching(
                payload, out, "--source", f"hub:{payload.repository}@{COMMIT}"
            ),
            environment={**offline, **own_home(home)},
        ),
    ]


def fetching(payload: Payload, out: Path, *arguments: str) -> list[str]:
    """The command line of a fetch of ``payload`` into ``out``."""
    where = ("--manifest", str(payload.manifest), "--dir", str(out))
    return grokdist("fetch", payload.name, *where, "--yes", "--json", *arguments)


def _curl_list(payload: Payload, url: str, out: Path, home: Path) -> Path:
    rows = [
        f'url = "{url}{entry.path}"\noutput = "{out / entry.path}"\n' for entry in payload.files
    ]
    (out / "ckpt-0").mkdir()
    path = home / "curl.conf"
    path.write_text("".join(rows), "utf-8")
    return path


def _aria2(
    payload: Payload, url: str, home: Path, *, checked: bool
) -> Callable[[Path], Sequence[str]]:
    def command(out: Path) -> Sequence[str]:
        rows = []
        for entry in payload.files:
            rows.append(f"{url}{entry.path}\n  out={entry.path}\n")
            if checked:
                rows.append(f"  checksum=sha-256={entry.sha256}\n")
        path = home / "aria2.list"
        path.write_text("".join(rows), "utf-8")
        # Several ranges of one file at once were slower here, and so was its disk cache.
        fast = ("-j8", "-x1", "--file-allocation=none", "--disk-cache=0")
        quiet = ("--console-log-level=error", "--summary-interval=0", "--no-conf")
        return [
            *("aria2c", "-q", *quiet, *fast, "--socket-recv-buffer-size=4M"),
            *("-d", str(out), "-i", str(path)),
        ]

    return command


def _hf(payload: Payload, peers: Peers, workers: int) -> Callable[[Path], Sequence[str]]:
    return lambda out: [
        *(peers.program("hf"), "download", payload.repository, "--revision", COMMIT),
        *("--local-dir", str(out), "--max-workers", str(workers), "--quiet"),
    ]
