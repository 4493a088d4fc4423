"""Build the documentation's site, and refuse it if a page would ask another host for anything.

    python -m tools.build_site OUT

Warnings are errors: a link that leads nowhere, a page that no menu lists, a docstring that cannot
be read. Needs the extra ``docs``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"

_LOADED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
_NOT_LOADED = {"alternate", "author", "canonical", "help", "index", "license", "next", "prev"}
"""What a ``link`` may be to without a browser asking for it."""
_ELSEWHERE = re.compile(r"(?:^|[\s,])(?:[a-z][a-z0-9+.-]*:)?//", re.IGNORECASE)
_IN_STYLE = re.compile(
    r"(?:url\(\s*['\"]?|@import\s+['\"])((?:https?:)?//[^'\")\s]+)", re.IGNORECASE
)


class _Requests(HTMLParser):
    """Collects what a browser would load from elsewhere to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "link" and set(values.get("rel", "").split()) <= _NOT_LOADED:
            return
        for name in _LOADED.get(tag, ()):
            value = values.get(name, "")
            if not value.startswith("data:") and _ELSEWHERE.search(value):
                self.found.append(f"{tag} {name}={value}")
        self.found += _IN_STYLE.findall(values.get("style", ""))


def requests_of_page(html: str) -> list[str]:
    """What a browser would ask other hosts for to show a page; links to follow do not count."""
    parser = _Requests()
    parser.feed(html)
    parser.close()
    styles = re.findall(r"<style[^>]*>(.*?)</style>", html, re.DOTALL | re.IGNORECASE)
    return parser.found + [url for style in styles for url in requests_of_style(style)]


def requests_of_style(css: str) -> list[str]:
    """What a style sheet would have a browser ask other hosts for."""
    return _IN_STYLE.findall(css)


def build(out: Path) -> None:
    """Build the site.

    Raises:
        SystemExit: it cannot be built without a warning, or a page asks another host for something.
    """
    argv = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "2", "-b", "html"]
    done = subprocess.run([*argv, "-d", f"{out}.doctrees", DOCS, out], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    outside = []
    for path in sorted(out.rglob("*")):
        if path.suffix == ".html":
            outside += [f"{path}: {each}" for each in requests_of_page(path.read_text("utf-8"))]
        elif path.suffix == ".css":
            outside += [f"{path}: {each}" for each in requests_of_style(path.read_text("utf-8"))]
    if outside:
        raise SystemExit("pages that ask other hosts:\n" + "\n".join(outside))


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
