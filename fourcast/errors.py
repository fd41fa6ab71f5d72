"""The one error that users are meant to read."""


class InputError(ValueError):
    """What the user gave cannot be used: a configuration, a file, a date.

    The message names the thing, what was expected, what was found, and the way out. The command line prints
    it as one line and exits with status 2; every other exception is a defect of ours and keeps its traceback.
    """
