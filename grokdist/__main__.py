"""``python -m grokdist``, which also works in a bare checkout."""

import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "runtime").is_dir():
    # An installed grokdist has the runtime beside it; a checkout has it one folder down.
    sys.path.insert(1, str(_CHECKOUT / "runtime"))

from grokdist.cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()
