"""Make the pictures of reports that README shows, in a headless Chromium.

``python -m tools.report_pictures`` writes ``docs/pictures/report.png`` (Grok-1, not fetched, on a
desktop) and ``docs/pictures/report-phone.png`` (grok-mini, fetched here, on a phone in the dark).
Needs ``chromium`` and touches nothing but a temporary home and these files.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from grokdist.whole_file import write_whole

REPOSITORY = Path(__file__).resolve().parent.parent
PICTURES = REPOSITORY / "docs/pictures"
_COLOURS = 96
_FROM_EVIDENCE = "body>header,main>section:nth-of-type(-n+3){display:none}h2{margin-top:1.4rem}"
"""Leaves out what comes before the chain of evidence: a picture has no scroll bar."""
_LIGHT, _DARK = 1, 0


def main() -> None:
    """Make both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _grokdist(folder, "fetch", "grok-mini", "--source", "local", "-q")
        for model in ("grok-1", "grok-mini"):
            _grokdist(folder, "report", model, "-q", "--html", str(folder / f"{model}.html"))
        desktop = _shot(folder, "grok-1.html", (1280, 1290), _LIGHT)
        keep(desktop, PICTURES / "report.png", width=960)
        page = folder / "grok-mini.html"
        page.write_text(page.read_text("utf-8").replace("</style>", f"{_FROM_EVIDENCE}</style>", 1))
        phone = _shot(folder, page.name, (390, 1046), _DARK)
        keep(phone, PICTURES / "report-phone.png", width=390)


def _grokdist(folder: Path, *argv: str) -> None:
    environment = os.environ | {
        "GROKDIST_HOME": str(folder / "home"),
        "GROKDIST_CONFIG": str(folder / "no-config.toml"),
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'runtime'}",
    }
    subprocess.run(
        [sys.executable, "-m", "grokdist", *argv],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _shot(folder: Path, page: str, size: tuple[int, int], scheme: int) -> Image.Image:
    file = folder / "shot.png"
    subprocess.run(
        [
            "chromium",
            "--headless",
            "--disable-gpu",
            "--hide-scrollbars",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            f"--user-data-dir={folder / 'profile'}",
            f"--blink-settings=preferredColorScheme={scheme}",
            f"--window-size={size[0]},{size[1]}",
            f"--screenshot={file}",
            f"file://{folder}/{page}",
        ],
        check=True,
        timeout=120,
        stderr=subprocess.DEVNULL,
    )
    with Image.open(file) as image:
        return image.convert("RGB")


def keep(image: Image.Image, path: Path, *, width: int) -> None:
    """Write a picture as small as it stays readable."""
    height = round(image.height * width / image.width)
    small = image.resize((width, height), Image.Resampling.LANCZOS).quantize(
        _COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    write_whole(path, data.getvalue())


if __name__ == "__main__":
    main()
