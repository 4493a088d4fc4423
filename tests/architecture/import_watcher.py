"""Imports every module of the two packages and reports what that touched, as a line of JSON.

A process of its own runs it, since an audit hook cannot be taken away again. A file that is opened
because a module is imported is none of the module's own doing; nor is what other packages read.
What anybody writes, calls or starts during an import counts.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import FrameType

PACKAGES = ("grokdist", "grokdist_runtime")
_ALWAYS = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
)
# urllib3 binds a socket to loopback when it is imported, to see whether there is IPv6.
_OURS_ALONE = ("socket.__new__", "socket.bind", "os.listdir", "os.scandir", "ctypes.dlopen", "open")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

touched: list[str] = []
current = ""


def _by_us(frame: FrameType | None) -> bool:
    """Whether a module of ours asked for it; the import system asks for modules on its own."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if "importlib" in frame.f_code.co_filename:
            return False
        if name.partition(".")[0] in PACKAGES:
            return True
        if "site-packages" in frame.f_code.co_filename:
            return False
        frame = frame.f_back
    return False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not current:
        return
    writes = event == "open" and (
        any(letter in str(arguments[1]) for letter in "wax+")
        or (isinstance(arguments[2], int) and arguments[2] & _WRITES)
    )
    counts = event in _ALWAYS or writes
    if counts or (event in _OURS_ALONE and _by_us(sys._getframe(1))):
        touched.append(f"{current} {event} {arguments!s:.200}")


def _modules(folder: Path, package: str) -> list[str]:
    """The modules below a package's folder, without those that are programs."""
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*.py")))
    names = (".".join((package, *path.with_suffix("").parts)) for path in files)
    return [name for name in names if not name.endswith(("__init__", "__main__"))]


def main() -> None:
    """Import one after the other."""
    global current
    imported, failed = [], {}
    sys.addaudithook(_watch)
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        for place in (found.submodule_search_locations or ()) if found is not None else ():
            for name in [package, *_modules(Path(place), package)]:
                current = name
                try:
                    importlib.import_module(current)
                    imported.append(current)
                except ImportError as error:
                    failed[current] = str(error)
                finally:
                    current = ""
    print(json.dumps({"imported": imported, "failed": failed, "touched": touched}))


if __name__ == "__main__":
    main()
