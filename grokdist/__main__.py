"""The ``grokdist`` command, also as ``python -m grokdist``, which works in a bare checkout too."""

import atexit
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "runtime").is_dir():
    # An installed grokdist has the runtime beside it; a checkout has it one folder down.
    sys.path.insert(1, str(_CHECKOUT / "runtime"))


def _again(ignored: Any) -> None:
    """Interrupt once more where Python had to ignore it: in a callback, of an import for one."""
    if ignored.exc_type is KeyboardInterrupt:
        # Not from here: it would be ignored like the first.
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(ignored)


def _ignore_interrupts() -> None:
    """Let the exit code stand: Python, when it takes itself apart, would end by the signal."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)


def main() -> None:
    """Run the command line; an interrupt while it is still being imported is told as any other."""
    # The first to be registered is the last to run, when all is said and no thread is left.
    atexit.register(_ignore_interrupts)
    # A terminated fetch must leave a resumable state, exactly as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.unraisablehook = _again
    try:
        from grokdist.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\nhint: run the same command again to go on\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
