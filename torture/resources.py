"""Commands that lack a resource: disk space, permission to write, or a folder of their own."""

import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from torture.commands import EXTRACT
from torture.events import Action
from torture.kills import Harness, can_mount
from torture.trials import Outcome, Trial

REFUSALS = {
    "disk full": (Action.REFUSE_FROM, errno.ENOSPC),
    "quota exceeded": (Action.REFUSE_FROM, errno.EDQUOT),
    "read-only": (Action.REFUSE_FROM, errno.EROFS),
    "input/output error, once": (Action.REFUSE_ONCE, errno.EIO),
}
"""What happens at a file event, or from it on, by the kind of trial."""

COMMANDS = ("compare", "train", EXTRACT)
"""Commands whose files matter."""

MOUNTS = {"disk full, mounted": ("size=64k", "size=512k", "size=2m"), "read-only, mounted": ("ro",)}
"""Options of a file system in memory, by the kind of trial; each option makes a trial of its own."""

TWO_AT_ONCE = "two at once"


@dataclass
class Tally:
    """The results of one kind of trial.

    Attributes:
        trials: number of trials.
        faults: the trials after which something was wrong.
    """

    trials: int = 0
    faults: list[Outcome] = field(default_factory=list)


def try_resources(
    harness: Harness,
    *,
    events: int,
    seed: int = 0,
    names: Sequence[str] = COMMANDS,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Tally]:
    """Runs commands without a resource, then again with it.

    Args:
        harness: the harness to run them in.
        events: number of random file events from which the resource is missing, for each command and each of
            :data:`REFUSALS`.
        seed: seed of the random choices.
        names: names of the commands.
        on_progress: called with the number of trials done and their total number.
    """
    harness.record_references([name for name in names if name not in harness.references])
    planned = list(_planned(harness, events, names, Random(f"{seed}/resources")))
    kinds = {id(trial): kind for kind, trial in planned}
    tallies = {kind: Tally() for kind, _ in planned}
    for done, (trial, outcome) in enumerate(harness.perform([trial for _, trial in planned]), start=1):
        tally = tallies[kinds[id(trial)]]
        tally.trials += 1
        if outcome.faults:
            tally.faults.append(outcome)
        if on_progress is not None:
            on_progress(done, len(planned))
    return tallies


def _planned(harness: Harness, events: int, names: Sequence[str], random: Random) -> Iterator[tuple[str, Trial]]:
    for kind, (action, error) in REFUSALS.items():
        for name in names:
            number = int(harness.references[name]["events"])
            for at in sorted(random.sample(range(1, number + 1), min(events, number))):
                yield kind, harness.trial(name, action=action, at=at, error=error)
    if can_mount() and "train" in names:
        for kind, options in MOUNTS.items():
            for option in options:
                yield kind, harness.trial("train", mount=option)
    for name in names:
        for _ in range(max(1, events // 4)):
            yield TWO_AT_ONCE, harness.trial(name, twice=True)
