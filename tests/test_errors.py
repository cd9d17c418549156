"""Which errors are a user's mistake."""

from speechshap.errors import UserError, find_cause

MISTAKE = UserError("`seed` is -1")


def raised(error: Exception, **options: bool) -> Exception:
    """An error that was raised while a mistake was handled."""
    try:
        try:
            raise MISTAKE
        except UserError as mistake:
            if options.get("is_named"):
                raise error from mistake
            if options.get("is_hidden"):
                raise error from None
            raise error  # noqa: B904 - the context alone
    except RuntimeError as told:
        return told


def test_a_mistake_is_found_below_what_was_raised_from_it_or_while_it_was_handled() -> None:
    assert find_cause(raised(RuntimeError(), is_named=True), UserError) is MISTAKE
    assert find_cause(raised(RuntimeError()), UserError) is MISTAKE
    assert find_cause(MISTAKE, UserError) is MISTAKE


def test_a_mistake_that_was_dealt_with_is_not_told_in_place_of_another_error() -> None:
    assert find_cause(raised(RuntimeError(), is_hidden=True), UserError) is None
