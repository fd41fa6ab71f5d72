"""What a configuration's values must satisfy beyond their types; each raises InputError with the name of the key."""

from typing import Any

from omegaconf import MISSING

from fourcast.errors import InputError


def one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise InputError unless ``value`` is one of ``allowed``."""
    if value not in allowed:
        raise InputError(f"{key} must be one of {', '.join(allowed)}, found {value!r}")


def positive(key: str, value: float) -> None:
    """Raise InputError unless ``value`` is above zero."""
    if not value > 0:
        raise InputError(f"{key} must be above 0, found {value}")


def not_negative(key: str, value: float) -> None:
    """Raise InputError where ``value`` is below zero."""
    if not value >= 0:
        raise InputError(f"{key} must not be negative, found {value}")


def below_one(key: str, value: float) -> None:
    """Raise InputError unless ``value`` lies in [0, 1)."""
    if not 0 <= value < 1:
        raise InputError(f"{key} must lie in [0, 1), found {value}")


def as_list(key: str, value: Any) -> Any:
    """One word, or a list of them, as a list of strings; null stays null."""
    if value is None or value == MISSING:
        return value
    items = value if isinstance(value, list) else [value]
    wrong = [item for item in items if not isinstance(item, str)]
    if wrong or not items:
        raise InputError(f"{key} must be a name or a list of names, found {value!r}")
    return items
