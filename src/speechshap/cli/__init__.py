"""The command line; the only place that knows flags."""

from speechshap.cli.main import main

__all__ = ["main"]
