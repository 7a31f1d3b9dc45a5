"""The one exception that means: the input is wrong, not the program.

Recipes print its message without a traceback and exit with status 2, so every message says what is wrong, which value,
and what to do.
"""


class InputError(ValueError):
    """Something the user gave cannot be used as it is."""
