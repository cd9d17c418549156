"""Tables in Markdown."""

import re
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A table in Markdown, whose columns are aligned for those who read it as text.

    Example:
        >>> print(table(["a", "b"], [["one", "2|3"]]))
        | a   | b    |
        | --- | ---- |
        | one | 2\|3 |
    """
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    widths = [max(3, *(len(line[place]) for line in lines)) for place in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def plain(name: str) -> str:
    r"""A name as Markdown shows it letter by letter: names of speakers and classes are the corpus' own.

    Bars are left to :func:`table`.

    Example:
        >>> plain("<b>_x_ *y*")
        '&lt;b>\\_x\\_ \\*y\\*'
        >>> plain("Actor_01")
        'Actor_01'
    """
    # A backslash before a tilde is left to be seen by some (TensorBoard).
    name = " ".join(name.split()).replace("&", "&amp;").replace("<", "&lt;").replace("~", "&#126;")
    # An underscore within a word means nothing.
    return re.sub(r"([\\`*\[\]]|(?<!\w)_|_(?!\w))", r"\\\1", name)
