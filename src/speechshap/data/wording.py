"""Numbers and names in messages."""

from collections.abc import Sequence


def counted(count: int, one: str, many: str | None = None) -> str:
    """A number with what is counted.

    Args:
        count: The number.
        one: Word for one of them.
        many: Word for several; left out, that for one with an s.

    Example:
        >>> counted(1, "file"), counted(2, "file"), counted(0, "class", "classes")
        ('1 file', '2 files', '0 classes')
    """
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def name_some(names: Sequence[str], most: int = 3) -> str:
    """The first few names.

    Example:
        >>> name_some(["a", "b", "c", "d"])
        'a, b, c, ...'
    """
    return ", ".join([*names[:most], *["..."] * (len(names) > most)])
