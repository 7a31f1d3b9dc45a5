"""Errors that a recipe prints as one line, without a traceback: every message says what is wrong, and what to do."""


class InputError(ValueError):
    """Something the user gave cannot be used as it is; recipes exit with status 2."""


class RunError(RuntimeError):
    """A run that was right to start cannot go on (a full disk, a loss that is not finite); recipes exit with 1."""
