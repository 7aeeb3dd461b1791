"""The one exception for everything a user can mend; the command line prints it as one line and exits with code 2."""


class UserError(ValueError):
    """Bad input: the message is one line that names the thing, what was received and what would be right.

    Examples:
        >>> from fer_hierarchy import UserError
        >>> issubclass(UserError, ValueError)
        True
    """


class NoRoomError(Exception):
    """Disk or memory ran out while a stage was trained; the message says what did not fit."""


class IncompleteError(Exception):
    """Some of many files could not be used, and all others are done; one line, exit code 1."""
