"""The ``grokdist`` command, also as ``python -m grokdist``, which works in a bare checkout too."""

import signal
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "runtime").is_dir():
    # An installed grokdist has the runtime beside it; a checkout has it one folder down.
    sys.path.insert(1, str(_CHECKOUT / "runtime"))


def main() -> None:
    """Run the command line; an interrupt while it is still being imported is told as any other."""
    # A terminated fetch must leave a resumable state, exactly as an interrupted one does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from grokdist.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\nhint: run the same command again to go on\n")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
