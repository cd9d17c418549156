"""Explain the predictions of a classifier; ``python explain.py --help``. The same as ``speechshap explain``."""

from speechshap.cli import main

if __name__ == "__main__":
    main("explain")
