"""The example that a study could start from does what it says, as a reader would run it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def _run(repository: Path, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, repository / "docs/examples/first_steps.py", *argv],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": f"{repository}{os.pathsep}{repository / 'runtime'}",
            # The kernel has its own tests; compiling it here would only take time.
            "CXX": "no-compiler",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_first_steps(repository: Path, tmp_path: Path) -> None:
    ended = _run(repository, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "verified in" in ended.stdout
    bits = dict(re.findall(r"^(.+): ([\d.]+) bits a byte$", ended.stdout, re.MULTILINE))
    # A model of this language expects the play, and not its words in another order.
    assert float(bits["the play"]) < float(bits["shuffled"])
    assert "Once more unto the breach" in ended.stdout
    record = json.loads((tmp_path / "first-steps.json").read_text("utf-8"))
    assert f"{record['model']}: {record['files']} files" in ended.stdout
    assert record["bits_a_byte"].keys() == bits.keys()


def test_first_steps_with_an_unknown_model(repository: Path, tmp_path: Path) -> None:
    ended = _run(repository, tmp_path, "nobody-knows")
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: ")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_the_lines_of_python_on_a_page(
    page: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-compiler")
    text = (repository / page).read_text("utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)  # noqa: S102
    engine = names["engine"]
    assert engine.score(engine.encode("To be")).shape[1] == engine.config.vocab_size
