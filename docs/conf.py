"""How Sphinx builds the site: the pages of this folder, and a reference made from the code.

``python -m tools.build_site OUT`` builds it and refuses pages that would ask another host for
anything.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

_DOCS = Path(__file__).resolve().parent
_COMMANDS = _DOCS / "reference" / "commands.md"

sys.path[:0] = [str(_DOCS.parent), str(_DOCS.parent / "runtime")]
os.environ["JAX_PLATFORMS"] = "cpu"

project = "grokdist"
author = "The grokdist authors"
html_title = "grokdist"
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
napoleon_use_ivar = True
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
# Examples are shown as they are, also where they leave something out.
suppress_warnings = ["misc.highlighting_failure"]


def _write_commands(_: object) -> None:
    """The reference of all commands, from the command line itself."""
    import typer
    from typer.cli import get_docs_for_click

    from grokdist.cli.main import app

    command = typer.main.get_command(app)
    _whole_sentences(command)
    text = get_docs_for_click(
        obj=command, ctx=typer.Context(command), name="grokdist", title="Commands"
    )
    if not _COMMANDS.exists() or _COMMANDS.read_text("utf-8") != text:
        _COMMANDS.write_text(text, "utf-8")


def _whole_sentences(command: Any) -> None:
    """Let lists of commands say what their first lines say, which are cut off otherwise."""
    for each in getattr(command, "commands", {}).values():
        each.short_help = (each.help or "").strip().partition("\n")[0]
        _whole_sentences(each)


def _carry_along(_: object, docname: str, source: list[str]) -> None:
    """Lead links to Markdown outside this folder to a copy: such a file is no page of the site."""
    here = (_DOCS / docname).parent

    def outside(link: re.Match[str]) -> str:
        path = (here / link[1]).resolve()
        return link[0] if path.is_relative_to(_DOCS) else f"](<path:{link[1]}>)"

    source[0] = re.sub(r"\]\((\.\./[^)#\s]+\.md)(?:#[\w-]+)?\)", outside, source[0])


def setup(app: Any) -> None:
    """Write what is made from the code before Sphinx looks for pages, and carry along files."""
    app.connect("builder-inited", _write_commands)
    app.connect("source-read", _carry_along)
