"""The benchmark of the fetch engine runs end to end on a few bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.fetch.measure import RunError, measure
from benchmarks.fetch.payload import make_payload
from benchmarks.fetch.table import render
from benchmarks.fetch.tools import missing


@pytest.fixture
def environment(repository: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{repository}:{repository / 'runtime'}"}


def test_contests_run_end_to_end(
    repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks.fetch", "--size", "256K", "--files", "2"]
    command += ["--repeats", "1", "--only", "http-large,verify-large", "--no-install"]
    command += ["--no-namespace", "--home", str(tmp_path / "home"), "--output", str(tmp_path)]
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    groups = json.loads((tmp_path / "fetch.json").read_text())["groups"]
    page = (tmp_path / "fetch.md").read_text()
    verify = {row["name"]: row for row in groups["verify-large"]["figures"]}
    assert verify["grokdist verify"]["rates"], done.stderr
    assert verify["grokdist verify"]["peak"] > 1
    assert verify["hf cache verify"]["missing"] == "not installed (--no-install)"
    assert "left out: not installed (--no-install)" in page
    if missing("nginx") is None:
        http = {row["name"]: row for row in groups["http-large"]["figures"]}
        assert http["grokdist, https"]["rates"], done.stderr
        assert http["plain reader"]["rates"], done.stderr
    else:
        assert groups["http-large"] == {"missing": missing("nginx")}
        assert "apt-get install nginx-light" in page


def test_what_children_use_is_counted(tmp_path: Path) -> None:
    spin = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {spin!r}])"
    # The parent ends at once and leaves its child behind.
    driver = (
        "import sys; from pathlib import Path;"
        "from benchmarks.fetch.measure import adopt_orphans, measure;"
        "adopt_orphans();"
        f"got = measure([sys.executable, '-c', {code!r}], log=Path(sys.argv[1]));"
        "print(got.user + got.system)"
    )
    done = subprocess.run(
        [sys.executable, "-c", driver, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) >= 0.19


def test_a_failing_command_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        measure(["sh", "-c", "echo no disk; exit 3"], log=tmp_path / "log")
    assert "no disk" in caught.value.output


def test_a_server_is_done_at_its_marker(tmp_path: Path) -> None:
    marker = tmp_path / "done"
    sample = measure(
        ["sh", "-c", f"touch {marker}; sleep 600"], log=tmp_path / "log", marker=marker
    )
    assert sample.seconds < 600


def test_a_wrong_copy_is_seen(tmp_path: Path) -> None:
    payload = make_payload(tmp_path, "tiny", files=1, size=4096)
    assert payload.right(payload.directory) is None
    path = payload.directory / payload.files[0].path
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    assert payload.right(payload.directory) is not None
    path.write_bytes(data[:-1])
    assert payload.right(payload.directory) is not None


def test_links_are_one_file_and_are_right(tmp_path: Path) -> None:
    payload = make_payload(tmp_path, "alike", files=3, size=3 * 4096, alike=True)
    assert payload.size == 3 * 4096
    assert len({(payload.directory / each.path).stat().st_ino for each in payload.files}) == 1
    assert payload.right(payload.directory) is None


def page_of(kind: str, rates: dict[str, float]) -> str:
    """The page of one contest with these rates."""
    figures = [
        {
            "name": name,
            "checks": "",
            "missing": None,
            "rates": [rate],
            "cpu": [1.0],
            "peak": 80.0,
            "first": [],
        }
        for name, rate in rates.items()
    ]
    group = {
        "when": "",
        "load_before": 0,
        "cores": 2,
        "machine": "2 cores",
        "repeats": 1,
        "files": 1,
        "bytes": 1,
        "command": "",
        "limit": None,
        "ceilings": {"hash_one": 1.0, "hash_all": 2.0, "copy": 1.0, "write": 1.0},
        "figures": figures,
    }
    return render({"versions": {}, "groups": {kind: group}})


def test_bars_say_what_is_met() -> None:
    page = page_of("http-large", {"curl": 1000.0, "aria2c": 300.0, "grokdist, https": 790.0})
    assert "; load before: 0. 2 cores.\n" in page
    assert "| HTTP, few large files: grokdist, https / curl | 0.8 | 0.79 | missed |" in page
    assert "| HTTP, few large files: grokdist, https / aria2c | 2 | 2.63 | met |" in page


def test_the_page_says_what_the_least_reaches_and_what_is_left_of_it() -> None:
    page = page_of(
        "swarm-small",
        {
            "libtorrent alone": 500.0,
            "libtorrent, then SHA-256": 400.0,
            "aria2c": 100.0,
            "grokdist, torrent, --no-trees": 300.0,
        },
    )
    least = "| Swarm, many small files: libtorrent, then SHA-256 | 400"
    assert f"{least} | 0.80 of 0.9 (libtorrent alone), 4.00 of 1 (aria2c) | 0.75 |" in page
