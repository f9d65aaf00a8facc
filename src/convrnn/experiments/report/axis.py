"""Width, axes and dots of the web page's drawings. The template draws them in the page's own colours."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

WIDTH = 340
"""Width of every drawing in its own units; about the pixels of a phone."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled place on an axis, in the picture's units."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: positions of values in a drawing.

    Attributes:
        ticks: round values on the axis.
        place: the position of a value in the picture's units.
    """

    ticks: tuple[Tick, ...]
    place: Callable[[float], float]

    @classmethod
    def over(cls, low: float, high: float, start: float, end: float, *, smallest_step: float = 0.0) -> Self:
        """An axis from ``low`` at ``start`` to ``high`` at ``end``, with at most eight ticks.

        Example:
            >>> [(tick.text, tick.at) for tick in Axis.over(0, 100, 0, 10).ticks]
            [('0', 0.0), ('20', 2.0), ('40', 4.0), ('60', 6.0), ('80', 8.0), ('100', 10.0)]
        """

        def place(value: float) -> float:
            return round(start + (value - low) / (high - low) * (end - start), 1)

        step = max(_round_step((high - low) / 7), smallest_step)
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        ticks = tuple(Tick(place(number * step), f"{number * step:g}") for number in range(first, last + 1))
        return cls(ticks, place)


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5, 10, … times a power of ten that is not below."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class Dot:
    """A dot with its label."""

    x: float
    y: float
    text: str
