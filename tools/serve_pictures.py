"""Make the pictures of the server's page that README and the docs show, in a headless Chromium.

``python -m tools.serve_pictures`` serves grok-mini from a temporary home, clicks, waits for the
answer, points at a token, and writes ``docs/pictures/serve.png`` (a desktop) and
``docs/pictures/serve-phone.png`` (a phone, in the dark). Both are of one run with one seed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from tools.headless_browser import Page, open_page
from tools.report_pictures import PICTURES, REPOSITORY, keep

_POINTED_AT = ".token:nth-of-type(9)"


def main() -> None:
    """Make both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _server(folder) as address, open_page(folder) as page:
            page.show(1280, 1340, scale=1.5)
            page.open(address)
            page.until("document.querySelectorAll('#provenance div').length > 5")
            page.evaluate("document.querySelector('#seed').value = 3")
            page.evaluate("document.querySelector('#max_tokens').value = 64")
            page.click("#generate")
            page.until("document.querySelector('#status').textContent.startsWith('Done')")
            page.point(_POINTED_AT)
            page.until("!document.querySelector('#detail').hidden")
            page.evaluate("scrollTo(0, 0)")
            keep(_shot(page), PICTURES / "serve.png", width=960)
            page.show(390, 1180, dark=True, scale=2)
            page.evaluate("scrollTo(0, document.querySelector('.buttons').offsetTop - 20)")
            keep(_shot(page), PICTURES / "serve-phone.png", width=390)


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    environment = os.environ | {
        "GROKDIST_HOME": str(folder / "home"),
        "GROKDIST_CONFIG": str(folder / "no-config.toml"),
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'runtime'}",
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "grokdist", "serve", "--port", "0", "--json", "-q"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdout is not None  # noqa: S101
        document = ""
        while not document.endswith("}\n"):
            line = child.stdout.readline()
            if not line:
                raise SystemExit("the server did not start")
            document += line
        yield str(json.loads(document)["url"])
    finally:
        child.terminate()
        child.wait(60)


def _shot(page: Page) -> Image.Image:
    with Image.open(io.BytesIO(page.picture())) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    main()
