"""Numbers held to the range in which a formula means something."""

import math


def check_range(
    *, low: int | float = 0, high: int | float = math.inf, **numbers: int | float | None
) -> None:
    """Refuses numbers outside of [low, high], by name.

    Args:
        low: least value.
        high: greatest value.
        numbers: Python numbers; None is not looked at.

    Raises:
        ValueError: naming the number, the range and the value.
    """
    for name, number in numbers.items():
        if number is not None and not low <= number <= high:
            range_ = f"at least {low}" if high == math.inf else f"in [{low}, {high}]"
            raise ValueError(f"{name} must be {range_}, got {number}.")
