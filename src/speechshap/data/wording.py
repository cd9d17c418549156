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


def in_words(num_bytes: int) -> str:
    """A size on disk.

    Example:
        >>> in_words(2_340_000), in_words(35_100_000_000)
        ('2.34 MB', '35.1 GB')
    """
    return f"{num_bytes / 1e9:.3g} GB" if num_bytes >= 10**9 else f"{num_bytes / 1e6:.3g} MB"
