"""The one exception for mistakes that a user can mend."""


class UserError(Exception):
    """A mistake in an option, a file or a checkpoint, told in one line that names it and the way out.

    The command line prints the message without a traceback and exits with a status that is not 0.
    """
