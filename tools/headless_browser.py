"""A headless Chromium driven over a pipe: real clicks and keys, pictures, what a page asked for.

Speaks the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/), documents ended
by a zero byte on two file descriptors. For tests and pictures; nothing but Chromium is needed.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in _NAMES if (found := shutil.which(name))), None)
"""Where the browser is; ``None`` where there is none."""

_WAIT_S = 120.0
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "End": 35, "Home": 36, "Tab": 9, "Enter": 13}


class BrowserError(Exception):
    """The browser, or the page in it, says that something is wrong."""


class Page:
    """One open page.

    Attributes:
        requests: Addresses that it has asked for.
        problems: What its console said is wrong: errors, and what its policy forbade.
    """

    def __init__(self, read: int, write: int) -> None:
        self.requests: list[str] = []
        self.problems: list[str] = []
        self._read, self._write = read, write
        self._held = b""
        self._number = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime", "Accessibility"):
            self._call(f"{domain}.enable")

    def show(self, width: int, height: int, *, dark: bool = False, scale: float = 1.0) -> None:
        """Sets the window's size and the colours that its reader prefers."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Goes there and waits until the document is there."""
        failed = self._call("Page.navigate", url=address).get("errorText")
        if failed:
            raise BrowserError(f"{address}: {failed}")
        self.until("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page."""
        got = self._call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in got:
            raise BrowserError(json.dumps(got["exceptionDetails"])[:500])
        return got["result"].get("value")

    def until(self, condition: str) -> None:
        """Waits until an expression holds."""
        end = time.monotonic() + _WAIT_S
        while not self.evaluate(condition):
            if time.monotonic() > end:
                raise BrowserError(f"never came: {condition}")
            time.sleep(0.02)

    def place(self, selector: str) -> tuple[float, float]:
        """The middle of an element, brought into view."""
        shown = json.dumps(selector)
        box = self.evaluate(
            f"(() => {{ const e = document.querySelector({shown}); e.scrollIntoView("
            "{block: 'center', behavior: 'instant'}); const b = e.getClientRects()[0];"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return float(box[0]), float(box[1])

    def point(self, selector: str) -> None:
        """Moves the mouse there."""
        x, y = self.place(selector)
        self._mouse("mouseMoved", x, y)

    def click(self, selector: str) -> None:
        """Presses and releases the left button in the middle of an element."""
        x, y = self.place(selector)
        self._mouse("mouseMoved", x, y)
        self._mouse("mousePressed", x, y, button="left", clickCount=1)
        self._mouse("mouseReleased", x, y, button="left", clickCount=1)

    def press(self, key: str, *, control: bool = False) -> None:
        """Presses and releases a key."""
        code = _KEYS[key]
        options = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 2 * control}
        self._call("Input.dispatchKeyEvent", type="rawKeyDown", **options)
        self._call("Input.dispatchKeyEvent", type="keyUp", **options)

    def write(self, text: str) -> None:
        """Types a text where the focus is."""
        self._call("Input.insertText", text=text)

    def names(self) -> list[tuple[str, str]]:
        """Role and name of everything a screen reader meets."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in nodes
            if not node["ignored"]
        ]

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])

    def _mouse(self, kind: str, x: float, y: float, **options: Any) -> None:
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **options)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._write, data) :]
        while True:
            got = self._receive()
            if got.get("id") == self._number:
                if "error" in got:
                    raise BrowserError(f"{method}: {got['error']}")
                return dict(got["result"])
            self._note(got)

    def _note(self, event: dict[str, Any]) -> None:
        method, said = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"])
        elif method == "Log.entryAdded" and said["entry"]["level"] == "error":
            self.problems.append(said["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(said["exceptionDetails"])[:500])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._held:
            if not select.select([self._read], [], [], _WAIT_S)[0]:
                raise BrowserError("the browser says nothing")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise BrowserError("the browser has ended")
            self._held += part
        message, _, self._held = self._held.partition(b"\0")
        return dict(json.loads(message))


@contextlib.contextmanager
def open_page(folder: Path) -> Iterator[Page]:
    """A browser with one page; its profile is in ``folder``."""
    if BROWSER is None:
        raise BrowserError("there is no Chromium or Chrome here")
    their_read, our_write = os.pipe()
    our_read, their_write = os.pipe()
    # The browser reads from its descriptor 3 and writes to 4.
    command = f'exec "$@" 3<&{their_read} 4>&{their_write}'
    child = subprocess.Popen(
        [
            "bash",
            "-c",
            command,
            "bash",
            BROWSER,
            "--headless",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--no-proxy-server",
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            f"--user-data-dir={folder / 'profile'}",
        ],
        pass_fds=(their_read, their_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for descriptor in (their_read, their_write):
        os.close(descriptor)
    try:
        yield Page(our_read, our_write)
    finally:
        os.close(our_write)  # which ends it
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        os.close(our_read)
