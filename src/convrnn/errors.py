"""The one exception for input that a user has to correct."""


class InputError(ValueError):
    """Bad input from the user, told in one sentence.

    The sentence names the file, row, field or argument, what was found and what is allowed. The command line prints
    it without a traceback and exits with code 2.

    Example:
        >>> raise InputError("data.csv: column 'speaker' is missing; found file, label")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: data.csv: column 'speaker' is missing; found file, label
    """
