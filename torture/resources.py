"""Commands that lack something: room on the disk, the right to write, the folder for themselves."""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from torture.commands import EXTRACT
from torture.events import Action
from torture.kills import Bench, can_mount
from torture.trials import Outcome, Trial

REFUSALS = {
    "disk full": (Action.REFUSE_FROM, errno.ENOSPC),
    "quota exceeded": (Action.REFUSE_FROM, errno.EDQUOT),
    "read-only": (Action.REFUSE_FROM, errno.EROFS),
    "input/output error, once": (Action.REFUSE_ONCE, errno.EIO),
}
"""Name to what happens at a file event, and from then on."""

COMMANDS = ("compare", "train", EXTRACT)
"""Those that write where it matters."""

MOUNTS = {"disk full, mounted": ("size=64k", "size=512k", "size=2m"), "read-only, mounted": ("ro",)}
"""Name to options of a file system in memory; what was written at the other mounts' tries is of another one."""

TWO_AT_ONCE = "two at once"


@dataclass
class Tally:
    """What came of the trials of one kind.

    Attributes:
        trials: how many there were.
        faults: those after which something was not as it should be.
    """

    trials: int = 0
    faults: list[Outcome] = field(default_factory=list)


def starve(
    made: Bench,
    *,
    events: int,
    seed: int = 0,
    names: Sequence[str] = COMMANDS,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tally]:
    """Takes something away from commands, gives it back, and runs them again.

    Args:
        made: where.
        events: file events, at random, from which on each command lacks something, for each of :data:`REFUSALS`.
        seed: decides what is random.
        names: which commands.
        on_progress: called with trials done and trials in all.
    """
    made.refer([name for name in names if name not in made.references])
    planned = list(_planned(made, events, names, Random(f"{seed}/resources")))
    kinds = {id(trial): kind for kind, trial in planned}
    tallies = {kind: Tally() for kind, _ in planned}
    for done, (trial, outcome) in enumerate(made.perform([trial for _, trial in planned]), start=1):
        tally = tallies[kinds[id(trial)]]
        tally.trials += 1
        if outcome.faults:
            tally.faults.append(outcome)
        if on_progress is not None:
            on_progress(done, len(planned))
    return tallies


def _planned(made: Bench, events: int, names: Sequence[str], random: Random) -> Iterator[tuple[str, Trial]]:
    for kind, (action, error) in REFUSALS.items():
        for name in names:
            number = int(made.references[name]["events"])
            for at in sorted(random.sample(range(1, number + 1), min(events, number))):
                yield kind, made.trial(name, action=action, at=at, error=error)
    if can_mount() and "train" in names:
        for kind, options in MOUNTS.items():
            for option in options:
                yield kind, made.trial("train", mount=option)
    for name in names:
        for _ in range(max(1, events // 4)):
            yield TWO_AT_ONCE, made.trial(name, twice=True)
