"""A parser whose help is plain text."""

from typing import Any

from jsonargparse import ArgumentParser


class TextParser(ArgumentParser):
    """A parser that shows docstrings as text."""

    def format_help(self, *args: Any, **options: Any) -> str:
        """Help without the marks of reStructuredText."""
        return super().format_help(*args, **options).replace("``", "")
