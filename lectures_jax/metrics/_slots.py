"""What the scores of detectors ask of their arrays."""

from typing import Any


def require_slots(scores: Any, true_labels: Any) -> None:
    """Refuses arrays without an image, or without a slot for a detection or an object."""
    if 0 in (*scores.shape, *true_labels.shape):
        raise ValueError(
            "expected at least one image and one slot per image, if only an invalid one, got "
            f"scores of shape {scores.shape} and true_labels of shape {true_labels.shape}."
        )
