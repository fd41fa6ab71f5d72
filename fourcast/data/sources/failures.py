"""What the libraries that read files raise where a file cannot be read, and what becomes of it."""

from fourcast.errors import InputError

READ_ERRORS = (OSError, ValueError, RuntimeError, KeyError, IndexError, EOFError, AttributeError, TypeError)
"""Of netCDF4, zarr, cfgrib and xarray."""


def read_errors(path: str) -> tuple[type[Exception], ...]:
    """What may be raised where ``path`` cannot be read; clients of remote storage raise exceptions of their own."""
    return (Exception,) if "://" in path else READ_ERRORS


def unreadable(path: str, found: str, remedy: str) -> InputError | OSError:
    """What to raise where ``path`` cannot be read: a file wants the ``remedy``, a server may recover."""
    if "://" in path:
        return OSError(f"{path}: {found}; run the same again, which goes on where it was")
    return InputError(f"{path}: {found}; {remedy}")
