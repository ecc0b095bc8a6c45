"""Settings whose defaults depend on the data."""

from typing import TypeVar

T = TypeVar("T")


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
