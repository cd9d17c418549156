"""The command line; the only place that knows flags."""

from speechshap.cli.explain import explain
from speechshap.cli.program import run
from speechshap.cli.report import report
from speechshap.cli.train import train

__all__ = ["explain", "report", "run", "train"]
