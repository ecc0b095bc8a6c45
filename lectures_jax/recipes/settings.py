"""Settings whose defaults depend on the data."""

from dataclasses import replace
from typing import Any, TypeVar

T = TypeVar("T")


def fill(settings: T, **defaults: Any) -> T:
    """Returns settings in which those that are None have their defaults.

    Args:
        settings: a dataclass.
        **defaults: by the name of the setting.

    Raises:
        ValueError: if one of these settings is a whole number below 1.
    """
    for name in defaults:
        chosen = getattr(settings, name)
        if isinstance(chosen, int) and not isinstance(chosen, bool) and chosen < 1:
            raise ValueError(f"{name} must be at least 1, got {chosen}.")
    missing = {name: v for name, v in defaults.items() if getattr(settings, name) is None}
    return replace(settings, **missing)  # pyright: ignore[reportArgumentType, reportCallIssue]


def require(value: T | None, name: str) -> T:
    """Returns a setting that depends on the data.

    Args:
        value: of the setting.
        name: of the setting.

    Raises:
        ValueError: if it is None: `with_defaults` was not called.
    """
    if value is None:
        raise ValueError(f"{name} must be set, as with_defaults does, got None.")
    return value
