"""Which sizes of images a network with an output for each pixel takes."""

from typing import NamedTuple

from lectures_jax.typing import Length


class ImageSizes(NamedTuple):
    """The rows and columns that such a network takes, and what of them its result covers.

    Attributes:
        factor: pixels from one size to the next, and those by which an image may be moved so that
            its result moves with it.
        least: the smallest size; the others are `least + factor · n`.
        margin: pixels of the image that the result lacks on each side.
        reach: of the result, pixels from its border inwards that depend on the zeros around the
            image.
    """

    factor: int
    least: int
    margin: int = 0
    reach: int = 0

    def fit(self, side: Length) -> Length:
        """Returns the smallest size that is at least `side`.

        Args:
            side: rows or columns of an image, in pixels.
        """
        return max(side, self.least) + (self.least - max(side, self.least)) % self.factor

    def check(self, height: Length, width: Length, *, name: str = "images") -> None:
        """Refuses images of other sizes.

        Args:
            height: rows of the images.
            width: their columns.
            name: of the argument.

        Raises:
            ValueError: with the sizes that the network takes, and the nearest to those that came.
        """
        if self.fit(height) == height and self.fit(width) == width:
            return
        nearest = ", ".join(
            f"{side} is between {above - self.factor} and {above}"
            if side > self.least
            else f"{side} is below {above}"
            for side in dict.fromkeys((height, width))
            if (above := self.fit(side)) != side
        )
        raise ValueError(
            f"{name} must have sides of {self.least} + {self.factor} n pixels, got "
            f"{height}×{width}: {nearest}."
        )
