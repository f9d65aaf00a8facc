"""Defaults, limits and checks of arguments; imports nothing heavy, so that commands can show them in their help."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import get_args

from convrnn.arguments import check_choice, check_number
from convrnn.errors import Argument, InputError
from convrnn.features.base import SAMPLE_RATES
from convrnn.features.normalise import NormalisePolicy
from convrnn.features.waveform import WINDOW_LIMITS_MS
from convrnn.files import why_not_writable
from convrnn.processes import MOST_JOBS
from convrnn.training.config import LIMITS as TRAINING_LIMITS
from convrnn.training.config import MOST_DEVICES, MOST_SEED

MODELS = ("baseline", "conv", "clstm", "extended-clstm", "cblstm")
"""The front ends compared by default."""

SEEDS = 5
"""The number of seeds by default."""

MOST_RUNS = 10_000
"""Largest number of seeds or folds; each model is trained once for each of them."""

LIMITS: dict[str, tuple[float, float, str]] = {
    **TRAINING_LIMITS,
    "devices": (1, MOST_DEVICES, ""),
    "fold": (1, MOST_RUNS, ""),
    "jobs": (1, MOST_JOBS, "since each process loads PyTorch and takes 300 MB or more"),
    "sample_rate": (*SAMPLE_RATES, "as in audio files"),
    "seed": (0, MOST_SEED, "as in PyTorch"),
    "seeds": (1, MOST_RUNS, ""),
    "split_seed": (0, MOST_SEED, ""),
    "window_ms": (*WINDOW_LIMITS_MS, ""),
}
"""Argument to its smallest and largest value and the reason, if it is not obvious."""

PARTITIONS = ("test", "validation", "train", "all")
"""What a saved model can be tested on."""

POLICIES: tuple[NormalisePolicy, ...] = get_args(NormalisePolicy)


def check_numbers(**values: float | None) -> None:
    """Refuse numbers outside :data:`LIMITS`; None is ignored.

    Raises:
        InputError: naming the argument, what was given and the limits.

    Example:
        >>> check_numbers(seeds=5, sample_rate=None)
        >>> check_numbers(seeds=0)
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: seeds=0: must be a number from 1 to 10000
    """
    for name, value in values.items():
        check_number(name, value, *LIMITS[name])


def check_choices(name: str, values: Sequence[str], allowed: Iterable[str]) -> None:
    """Refuse an empty list of words, and one with a repeated word or one that is not allowed.

    Raises:
        InputError: naming the argument, and what is allowed.

    Example:
        >>> check_choices("models", ["conv", "clstm", "conv"], ("baseline", "conv", "clstm"))
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: 'models': 'conv' is given 2 times; give it once
    """
    known = tuple(allowed)
    check_list(name, values)
    if not values:
        raise InputError(Argument(name), f": no name given; allowed: {', '.join(known)}")
    for value in values:
        check_choice(name, value, known)
        if (count := list(values).count(value)) > 1:
            raise InputError(Argument(name), f": {value!r} is given {count} times; give it once")


def check_list(name: str, values: Iterable[str]) -> None:
    """Refuse a string in place of a list of strings.

    Raises:
        InputError: naming the argument.
    """
    if isinstance(values, str):
        raise InputError(Argument(name), f": a list of names is expected, not {values!r}")


def check_policy(normalise: str) -> NormalisePolicy:
    """The normalisation policy of that name.

    Raises:
        InputError: naming all policies.
    """
    check_choice("normalise", normalise, POLICIES)
    return next(policy for policy in POLICIES if policy == normalise)


def pairs_of_names(name: str, values: Iterable[str]) -> list[tuple[str, str]]:
    """Split ``"A=B"`` into pairs of names.

    Raises:
        InputError: for anything else.

    Example:
        >>> pairs_of_names("same_speaker", ["46=53"])
        [('46', '53')]
    """
    pairs = []
    for value in values:
        names = tuple(part.strip() for part in value.split("="))
        if len(names) != 2 or not all(names) or names[0] == names[1]:
            raise InputError(
                Argument(name, (value,)), ": two different names are expected, as in ", Argument(name, ("46=53",))
            )
        pairs.append((names[0], names[1]))
    return pairs


def check_folder(name: str, path: Path) -> None:
    """Refuse a folder that cannot be made or written; nothing is left behind in it.

    Args:
        name: the argument.
        path: the folder; it may be missing.

    Raises:
        InputError: naming the file that is in its place, or the folder that cannot be written and why.
    """
    for place in (path, *path.parents):
        if place.is_dir():
            if reason := why_not_writable(place):
                raise InputError(Argument(name, str(path)), f": {place} cannot be written ({reason})")
            return
        if place.exists():
            argument = (Argument(name),) if place == path else (Argument(name, str(path)), ":")
            raise InputError(*argument, f" {place} is a file; give a folder")
