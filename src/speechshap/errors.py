"""Mistakes that a user can correct."""


class UserError(ValueError):
    """A mistake in an option, a file or a checkpoint, told in one sentence that names it and the way out.

    Messages name parameters in backticks (`` `batch_size` ``, `` `targets="all"` ``). The command line turns these
    into its flags, prints the message without a traceback, and exits with a status that is not 0.
    """


def require_at_least(least: int, **parameters: int | None) -> None:
    """Raise a UserError for a parameter below ``least``; None stands for one that is left out.

    Example:
        >>> require_at_least(1, batch_size=0)
        Traceback (most recent call last):
        speechshap.errors.UserError: `batch_size` is 0; expected 1 at least
    """
    for name, value in parameters.items():
        if value is not None and value < least:
            raise UserError(f"`{name}` is {value}; expected {least} at least")
