"""Whether what lies in a model directory is true: its files, its receipt, its attestations."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from pathlib import Path

from grokdist.errors import GrokdistError
from grokdist.trust.receipt import parse_receipt


class Between(Exception):  # noqa: N818 - what was found, which is the worst
    """Neither the old state nor the new one is there; says why."""


def receipt_there(model: Path, files: Mapping[str, bytes]) -> bool:
    """True where there is a receipt, which then must be true of all files.

    Raises:
        Between: it is not, or a file is not what it says.
    """
    file = model / ".grokdist/receipt.json"
    if not file.exists():
        return False
    try:
        receipt = parse_receipt(file.read_bytes())
    except GrokdistError as error:
        raise Between(str(error)) from error
    told = {each.path: (each.size, each.sha256) for each in receipt.files}
    for path, data in files.items():
        if told.get(path) != (len(data), hashlib.sha256(data).hexdigest()):
            raise Between(f"the receipt is not true of {path}")
    for each in receipt.attestations:
        kept = model / each.path
        if not kept.is_file() or hashlib.sha256(kept.read_bytes()).hexdigest() != each.sha256:
            raise Between(f"the receipt lists {each.path}, which is not as it says")
    return True


def sha256sum(model: Path, files: Mapping[str, bytes]) -> list[str]:
    """Files that ``sha256sum``, which knows nothing of us, does not find right."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {path}" for path, data in files.items())
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "-"],
        cwd=model,
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return []
    return [f"sha256sum: {line}" for line in (done.stdout or done.stderr).splitlines()]
