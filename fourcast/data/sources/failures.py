"""What the libraries that read files raise where a file cannot be read, and what becomes of it."""

from fourcast.errors import InputError

READ_ERRORS = (OSError, ValueError, RuntimeError, KeyError, IndexError, EOFError, AttributeError, TypeError)
"""Of netCDF4, zarr, cfgrib and xarray."""
HERE = ("file://", "local://", "memory://")
"""Addresses that are no server's."""


def read_errors(path: str) -> tuple[type[Exception], ...]:
    """What may be raised where ``path`` cannot be read; clients of remote storage raise exceptions of their own."""
    return (Exception,) if "://" in path else READ_ERRORS


def unreadable(path: str, name: str, error: Exception, remedy: str) -> InputError | OSError:
    """What to raise where array ``name`` of ``path`` cannot be read: damage wants the ``remedy``, a server recovers."""
    found = f"{path}: {name} cannot be read ({error})"
    if "://" in path and not path.startswith(HERE) and not isinstance(error, RuntimeError | ValueError):
        return OSError(f"{found}; run the same again, which goes on where it was")
    return InputError(f"{found}; {remedy}")
