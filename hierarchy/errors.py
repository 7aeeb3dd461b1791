"""The one exception for everything a user can mend; the command line prints it as one line and exits with code 2."""

import struct
import tokenize
import zipfile
import zlib

# What zipfile raises where an archive is damaged: its own error, and others from wherever the damage is.
BAD_ZIP = (
    *(OSError, EOFError, ValueError, LookupError, RuntimeError, NotImplementedError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)
# And NumPy where the header of an array is damaged, which it reads as Python.
BAD_ARRAY = (
    *BAD_ZIP,
    AttributeError,
    OverflowError,
    SyntaxError,
    SystemError,
    TypeError,
    MemoryError,
    tokenize.TokenError,
)


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
