"""What the libraries that read files raise where a file cannot be read."""

READ_ERRORS = (OSError, ValueError, RuntimeError, KeyError, IndexError, EOFError, AttributeError, TypeError)
"""Of netCDF4, zarr, cfgrib and xarray."""


def read_errors(path: str) -> tuple[type[Exception], ...]:
    """What may be raised where ``path`` cannot be read; clients of remote storage raise exceptions of their own."""
    return (Exception,) if "://" in path else READ_ERRORS
