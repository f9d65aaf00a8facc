"""A reader of convrnn that is ready to be tried on damaged input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Target:
    """A reader that is ready to be tried.

    Attributes:
        seeds: Valid inputs.
        damage: Damages an input, valid or already damaged, by random choices.
        read: Reads an input as convrnn does, and raises what convrnn raises.
    """

    seeds: Sequence[bytes]
    damage: Callable[[bytes, Random], bytes]
    read: Callable[[bytes], object]


class BelievedError(AssertionError):
    """Damage went unnoticed that a digest should have revealed."""
