"""``python -m grokdist``."""

from grokdist.cli.main import main

if __name__ == "__main__":
    main()
