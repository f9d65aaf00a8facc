"""Checks of arguments, whose errors name the argument, what was given and what is allowed."""

import numbers
from collections.abc import Iterable

from convrnn.errors import Argument, InputError, one_sentence


def check_number(name: str, value: float | None, least: float, most: float, why: str = "") -> None:
    """Refuse NaN and numbers outside the limits, and fractions where ``least`` is whole; None is ignored.

    Args:
        name: the argument.
        value: what was given.
        least: the smallest allowed number.
        most: the largest.
        why: the reason for the limits, if it is not obvious.

    Raises:
        InputError: with all of these, or for something that is not a number.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, numbers.Real)):
        raise InputError(Argument(name), f": a number is expected, not {one_sentence(repr(value), 40)}")
    fraction = isinstance(least, int) and isinstance(value, float)
    if value is None or (least <= value <= most and not fraction):
        return
    found = float(f"{value:.6g}") if isinstance(value, float) else value
    shown = found if len(str(found)) <= 40 else one_sentence(str(found), 40)
    kind = "whole number" if fraction else "number"
    low, high = (f"{limit:g}" if isinstance(limit, float) else limit for limit in (least, most))
    raise InputError(Argument(name, shown), f": must be a {kind} from {low} to {high}", f", {why}" if why else "")


def check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a word that is not among the allowed ones.

    Raises:
        InputError: naming the argument and all allowed words.

    Example:
        >>> check_choice("setting", "music", ("emotion", "paralinguistic"))
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: 'setting': unknown value 'music'; allowed: emotion, paralinguistic
    """
    words = tuple(allowed)
    if value not in words:
        raise InputError(Argument(name), f": unknown value {value!r}; allowed: {', '.join(words)}")
