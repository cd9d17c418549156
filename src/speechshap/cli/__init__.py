"""The command line; the only place that knows flags."""

from speechshap.cli.main import explain, report, run, train

__all__ = ["explain", "report", "run", "train"]
