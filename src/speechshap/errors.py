"""Mistakes that a user can mend."""


class UserError(Exception):
    """A mistake in an option, a file or a checkpoint, told in one line that names it and the way out.

    The command line prints the message without a traceback and exits with a status that is not 0.
    """


def require_at_least(least: int, **options: int | None) -> None:
    """Raise a UserError for an option below ``least``; None stands for an option that is left out.

    Args:
        least: Smallest legal value.
        options: Options by their name on the command line, with two underscores for the dot.

    Example:
        >>> require_at_least(1, data__batch_size=0)
        Traceback (most recent call last):
        speechshap.errors.UserError: --data.batch_size is 0; expected 1 at least
    """
    for name, value in options.items():
        if value is not None and value < least:
            raise UserError(f"--{name.replace('__', '.')} is {value}; expected {least} at least")
