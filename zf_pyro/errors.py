"""The mistakes that a user can make, as one exception."""


class InputError(ValueError):
    """A path, a file, an option or a field that cannot be used.

    The message is one line that says what is wrong, where, and what to do. The command line prints it without a
    traceback and ends with exit status 2.
    """
