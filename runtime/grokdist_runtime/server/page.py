"""The page at ``/``: one document that loads nothing else, put together of its three files once.

The browser is told so: only the script and the style whose digests are named run, and requests go
to this server alone. Whatever comes from the model or its manifest is set as text.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response


async def page(request: Request) -> Response:
    """The endpoint."""
    document, policy = _document()
    return HTMLResponse(
        document,
        headers={
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )


@functools.cache
def _document() -> tuple[str, str]:
    """The page and its content security policy."""
    files = resources.files("grokdist_runtime.server") / "playground"
    style, script, frame = (
        (files / name).read_text("utf-8") for name in ("page.css", "page.js", "page.html")
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_digest(script)}",
            f"style-src {_digest(style)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return frame.replace("/*STYLE*/", style, 1).replace("/*SCRIPT*/", script, 1), policy


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
