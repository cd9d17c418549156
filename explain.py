"""Explain the predictions of a trained classifier; ``python explain.py --help``."""

from speechshap.cli import explain, run

if __name__ == "__main__":
    run(explain, interrupted="interrupted; the same command goes on from here")
