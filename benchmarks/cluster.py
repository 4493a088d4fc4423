"""``fetch --share`` on eight machines: network namespaces on one switch, links limited by ``tc``.

The origin is nginx behind a slow line; the machines have fast links among themselves, find each
other by multicast, and know nothing of one another before. Counted are the bytes that the origin's
interface sent, headers and all, and the time from the start of the first machine to the last
receipt. Beside it: one machine alone, and one of the eight killed half-way.

    sudo PYTHONPATH=.:runtime python benchmarks/cluster.py                  # about four minutes
    sudo PYTHONPATH=.:runtime python benchmarks/cluster.py --runs 1 --output -

It needs root, ``ip`` and ``tc`` (iproute2), and nginx, and says which is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from grokdist.catalog.manifest import FileEntry, LicenseInfo, Manifest, Role
from grokdist.catalog.serialise import serialise_manifest

_ROOT = Path(__file__).resolve().parent.parent
_RESULT = _ROOT / "benchmarks/results/cluster.md"
_MIB = 1 << 20
_NGINX = """\
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  sendfile_max_chunk 256k;
  default_type application/octet-stream;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{ listen 10.78.0.1:8080; root {www}; }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is run.

    Attributes:
        machines: how many.
        files: files of the payload.
        size: MiB of each.
        line: rate of the origin's line, as ``tc`` writes it.
        link: rate of each machine's link, both ways.
    """

    machines: int
    files: int
    size: int
    line: str
    link: str

    @property
    def payload(self) -> int:
        """Bytes of the payload."""
        return self.files * self.size * _MIB


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run.

    Attributes:
        seconds: from the start of the first machine to the end of the last fetch.
        fetch_seconds: the longest fetch by its own count, without the start of Python.
        origin: bytes that the origin's interface sent.
        local: bytes that the machines' interfaces sent.
    """

    seconds: float
    fetch_seconds: float
    origin: int
    local: int


class Switch:
    """Namespaces on one bridge; use it in a ``with``.

    Args:
        settings: how many, and how fast.
        home: where each machine may write.
    """

    def __init__(self, settings: Settings, home: Path) -> None:
        self._settings = settings
        self._home = home
        self._name = f"gd{os.getpid()}"
        self._made: list[str] = []
        self.origin = f"{self._name}o"
        self.machines = [f"{self._name}m{place}" for place in range(settings.machines)]

    def __enter__(self) -> Switch:
        try:
            bridge = f"{self._name}s"
            self._make(bridge)
            _inside(bridge, "ip", "link", "add", "sw", "type", "bridge", "mcast_snooping", "0")
            _inside(bridge, "ip", "link", "set", "sw", "up")
            settings = self._settings
            for place, name in enumerate([self.origin, *self.machines]):
                self._make(name)
                port = f"p{place}"
                command = f"ip link add eth0 netns {name} type veth peer name {port} netns {bridge}"
                subprocess.run(command.split(), check=True)
                _inside(bridge, "ip", "link", "set", port, "master", "sw", "up")
                _inside(name, "ip", "addr", "add", f"10.78.0.{place + 1}/24", "dev", "eth0")
                _inside(name, "ip", "link", "set", "lo", "up")
                _inside(name, "ip", "link", "set", "eth0", "up")
                rate = settings.line if place == 0 else settings.link
                _limit(name, "eth0", rate)
                if place:
                    _limit(bridge, port, rate)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def sent(self, names: Sequence[str]) -> int:
        """Bytes that the interfaces of namespaces have sent."""
        path = "/sys/class/net/eth0/statistics/tx_bytes"
        return sum(int(_inside(name, "cat", path)) for name in names)

    def _make(self, name: str) -> None:
        subprocess.run(["ip", "netns", "add", name], check=True)
        self._made.append(name)

    def _remove(self) -> None:
        for name in reversed(self._made):
            subprocess.run(["ip", "netns", "del", name], check=False)
        self._made.clear()


def main() -> None:
    """Run it all and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--machines", type=int, default=8)
    parser.add_argument("--files", type=int, default=16)
    parser.add_argument("--size", type=int, default=16, help="MiB a file")
    parser.add_argument("--line", default="128mbit", help="the origin's rate")
    parser.add_argument("--link", default="1gbit", help="each machine's rate")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", default=str(_RESULT), help="a file, or - for stdout")
    arguments = parser.parse_args()
    if missing := _missing():
        sys.exit(f"cannot run: {'; '.join(missing)}")
    settings = Settings(
        machines=arguments.machines,
        files=arguments.files,
        size=arguments.size,
        line=arguments.line,
        link=arguments.link,
    )
    # Eight machines have eight disks: here they would share one.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="cluster-", dir=memory) as folder:
        home = Path(folder)
        home.chmod(0o755)
        manifest = _payload(home, settings)
        with Switch(settings, home) as switch, _origin(home, switch.origin):
            bench = _Bench(switch, home, manifest, settings)
            rows = {
                "one machine alone": _repeat(arguments.runs, lambda: bench.run(1, share=False)),
                f"{settings.machines} machines": _repeat(
                    arguments.runs, lambda: bench.run(settings.machines)
                ),
                f"{settings.machines} machines, one killed half-way": _repeat(
                    arguments.runs, lambda: bench.run(settings.machines, kill=True)
                ),
            }
    text = _table(rows, settings)
    if arguments.output == "-":
        sys.stdout.write(text)
    else:
        Path(arguments.output).write_text(text, "utf-8")


class _Bench:
    """Runs fetches in the namespaces."""

    def __init__(self, switch: Switch, home: Path, manifest: Path, settings: Settings) -> None:
        self._switch = switch
        self._home = home
        self._manifest = manifest
        self._settings = settings

    def run(self, machines: int, *, share: bool = True, kill: bool = False) -> Outcome:
        """Fetch on the first ``machines`` machines at once, into empty folders."""
        names = self._switch.machines[:machines]
        before = self._switch.sent([self._switch.origin]), self._switch.sent(names)
        begun = time.monotonic()
        children = [self._start(name, share=share) for name in names]
        documents = []
        try:
            if kill:
                self._kill(children.pop(), before[0])
            # The result is printed before a machine goes on serving the others.
            documents = [_document(child) for child in children]
            ended = time.monotonic()
            for child in children:
                child.wait(120)
        finally:
            for child in children:
                child.kill()
                child.wait()
        origin = self._switch.sent([self._switch.origin]) - before[0]
        local = self._switch.sent(names) - before[1]
        for name in names:
            shutil.rmtree(self._home / name, ignore_errors=True)
        return Outcome(
            seconds=ended - begun,
            fetch_seconds=max(document["seconds"] for document in documents),
            origin=origin,
            local=local,
        )

    def _kill(self, child: subprocess.Popen[str], before: int) -> None:
        """Kill a machine when half of the payload has left the origin."""
        while self._switch.sent([self._switch.origin]) - before < self._settings.payload / 2:
            time.sleep(0.1)
        child.send_signal(signal.SIGKILL)
        child.communicate()

    def _start(self, name: str, *, share: bool) -> subprocess.Popen[str]:
        home = self._home / name
        command = [
            *("ip", "netns", "exec", name, sys.executable, "-m", "grokdist", "fetch", "payload"),
            *("--manifest", str(self._manifest), "--dir", str(home / "model")),
            *("--source", "http://10.78.0.1:8080/", "--no-trees", "--json", "--quiet"),
        ]
        if share:
            command.append("--share")
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'runtime'}",
            "GROKDIST_HOME": str(home),
            "HOME": str(home),
            "GROKDIST_FETCH_SHARE_KEY": "the key of the benchmark",
        }
        return subprocess.Popen(
            command, cwd=self._home, env=environment, stdout=subprocess.PIPE, text=True
        )


def _document(child: subprocess.Popen[str]) -> dict[str, float]:
    """The result that a fetch prints, as soon as it is printed."""
    text = ""
    for line in child.stdout or ():
        text += line
        if line.rstrip() == "}":
            document: dict[str, float] = json.loads(text)
            if "seconds" in document:
                return document
    raise SystemExit(f"a fetch failed with {child.wait()}: {text}")


def _payload(home: Path, settings: Settings) -> Path:
    """Make the files and their manifest."""
    www = home / "www"
    www.mkdir()
    entries = []
    for place in range(settings.files):
        path = f"shard{place:03}"
        data = random.Random(place).randbytes(settings.size * _MIB)
        (www / path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        entries.append(FileEntry(path=path, size=len(data), sha256=digest))
    manifest = Manifest(
        schema="grokdist/manifest/v1",
        name="payload",
        revision="1",
        title="Payload",
        publisher="nobody",
        role=Role.OBSERVER,
        statement="Random bytes, made by a benchmark.",
        released=None,
        format="grok-1-pickle",
        summary="random bytes",
        config=None,
        license=LicenseInfo(expression="Apache-2.0", name="Apache License 2.0"),
        components=(),
        sources=(),
        anchors=(),
        files=tuple(entries),
    )
    path = home / "manifest.json"
    path.write_bytes(serialise_manifest(manifest))
    return path


@contextlib.contextmanager
def _origin(home: Path, namespace: str) -> Iterator[None]:
    """Nginx in the origin's namespace."""
    folder = home / "nginx"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(home=folder, www=home / "www"), "utf-8")
    command = ["ip", "netns", "exec", namespace, "nginx", "-c", str(config), "-p", str(folder)]
    child = subprocess.Popen(command)
    try:
        time.sleep(0.5)
        yield
    finally:
        child.terminate()
        child.wait()


def _repeat(runs: int, run: Callable[[], Outcome]) -> list[Outcome]:
    outcomes = []
    for _ in range(runs):
        outcomes.append(run())
        print(outcomes[-1], file=sys.stderr)
    return outcomes


def _table(rows: dict[str, list[Outcome]], settings: Settings) -> str:
    alone = statistics.median(each.fetch_seconds for each in rows["one machine alone"])
    runs = len(rows["one machine alone"])
    lines = [
        "# Fetch on a cluster",
        "",
        f"{settings.machines} network namespaces on one bridge, {os.cpu_count()} cores in all;"
        f" payload {settings.payload / 1e6:.0f} MB in {settings.files} files; the origin (nginx)"
        f" behind a line of {settings.line}, each machine on a link of {settings.link}, limited by"
        f" `tc`; files in memory. `grokdist fetch --share`, machines found by multicast. Medians of"
        f" {runs} runs"
        " (least to most). `benchmarks/cluster.py` makes this table.",
        "",
        "| | time of the last fetch, s | times alone | with the start of Python, s"
        " | sent by the origin, MB | times the payload | sent by the machines, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, outcomes in rows.items():
        seconds = [each.fetch_seconds for each in outcomes]
        origin = [each.origin / 1e6 for each in outcomes]
        ratio = [each.origin / settings.payload for each in outcomes]
        cells = [
            name,
            _spread(seconds, ".1f"),
            f"{statistics.median(seconds) / alone:.2f}",
            _spread([each.seconds for each in outcomes], ".1f"),
            _spread(origin, ".0f"),
            _spread(ratio, ".3f"),
            _spread([each.local / 1e6 for each in outcomes], ".0f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    bytes_each = settings.payload * settings.machines / 1e6
    lines += [
        "",
        f"Without sharing {settings.machines} machines take {bytes_each:.0f} MB from the origin."
        " Bytes are counted at the interfaces, with headers and requests; every fetch"
        " checks the SHA-256 of every file before it ends.",
    ]
    return "\n".join(lines) + "\n"


def _spread(values: list[float], form: str) -> str:
    median, least, most = statistics.median(values), min(values), max(values)
    return f"{median:{form}} ({least:{form}} to {most:{form}})"


def _limit(namespace: str, device: str, rate: str) -> None:
    shape = ["root", "tbf", "rate", rate, "burst", "512kb", "latency", "100ms"]
    _inside(namespace, "tc", "qdisc", "add", "dev", device, *shape)


def _inside(namespace: str, *command: str) -> str:
    full = ["ip", "netns", "exec", namespace, *command]
    return subprocess.run(full, check=True, stdout=subprocess.PIPE, text=True).stdout


def _missing() -> list[str]:
    """What this machine lacks."""
    found = [f"{tool} is not installed" for tool in ("ip", "tc", "nginx") if not shutil.which(tool)]
    if os.geteuid() != 0:
        found.append("not root")
    if found:
        return found
    name = f"gd{os.getpid()}t"
    if subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode:
        return ["network namespaces are not allowed here"]
    try:
        _inside(name, "ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
        _limit(name, "veth0", "1gbit")
    except subprocess.CalledProcessError:
        return ["the kernel has no veth links or no tbf queueing"]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return []


if __name__ == "__main__":
    main()
