"""The test predictions of trained models, and the scores of one model computed from them."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convrnn.experiments.statistics import PairedTest, Tally, bootstrap_interval, paired_test
from convrnn.training.result import RunResult
from convrnn.training.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Run:
    """The run directory behind an outcome.

    Attributes:
        spec: what was trained.
        result: its scores, and where it is.
    """

    spec: RunSpec
    result: RunResult

    @property
    def what_ran(self) -> str:
        """The processor or GPU, the software versions and the code of the layers; with others, results may differ."""
        versions = ", ".join(f"{name} {version}" for name, version in self.result.versions.items())
        computed_by = f", computed by {self.result.computed_by}" if self.result.computed_by else ""
        return f"{self.result.device_name} with {versions}{computed_by}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The test predictions of one model with one seed on one fold.

    Attributes:
        model: the model's name.
        seed: the seed.
        fold: the split's position, from 0.
        speakers: speaker of each test utterance.
        truth: label of each, in the same order.
        prediction: predicted class of each.
        parameters: trained numbers of the model.
        seconds: training time.
        run: the run directory behind it; None for a model that has none, such as the linear SVM.
    """

    model: str
    seed: int
    fold: int
    speakers: tuple[str, ...]
    truth: tuple[str, ...]
    prediction: tuple[str, ...]
    parameters: int
    seconds: float
    run: Run | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ModelResult:
    """The scores of one model in one column of the table.

    The test predictions of all folds of a seed are pooled before anything is computed, so that a fold with few examples
    of a class has less weight than one with many. UA recall is the mean of the classes' recalls (section IV-A of
    the paper).

    Attributes:
        mean: UA recall in percent, mean over seeds.
        std: its standard deviation over seeds (ddof = 1); None for a single seed.
        interval: 95 % bootstrap interval of the mean over speakers; None where
            :func:`~convrnn.experiments.statistics.bootstrap_interval` gives none.
        accuracy: in percent, mean over seeds.
        tally: correct predictions by seed, speaker and class.
        confusion: counts ``[classes, classes]`` over all seeds and folds; rows are true classes.
        parameters: trained numbers of the model.
        seeds: in the order of ``tally`` and ``seconds``.
        seconds: training time of each seed, all folds.
        outcomes: seed by seed and fold by fold.
    """

    mean: float
    std: float | None
    interval: tuple[float, float] | None
    accuracy: float
    tally: Tally
    confusion: NDArray[np.int64]
    parameters: int
    seeds: tuple[int, ...]
    seconds: tuple[float, ...]
    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], classes: Sequence[str]) -> Self:
        """Pool the outcomes of one model.

        Args:
            outcomes: at least one, in any order.
            classes: all classes; each has to occur in every seed's pooled test labels.

        Raises:
            ValueError: for a class without test example, whose recall does not exist, and for seeds that were not
                tested on the same utterances.

        Example:
            >>> speakers, truth = ("s", "s", "t", "t"), ("a", "a", "b", "b")
            >>> found = ModelResult.of(
            ...     [Outcome("m", 0, 0, speakers, truth, ("a", "a", "b", "a"), 10, 1.0),
            ...      Outcome("m", 1, 0, speakers, truth, ("a", "a", "b", "b"), 10, 3.0)], ("a", "b"))
            >>> found.mean, round(found.std, 2), found.accuracy, found.seconds
            (87.5, 17.68, 87.5, (1.0, 3.0))
        """
        ordered = sorted(outcomes, key=lambda outcome: (outcome.seed, outcome.fold))
        by_seed = {seed: list(folds) for seed, folds in groupby(ordered, key=lambda outcome: outcome.seed)}
        pooled = [
            (
                [speaker for fold in folds for speaker in fold.speakers],
                [label for fold in folds for label in fold.truth],
                [label for fold in folds for label in fold.prediction],
            )
            for folds in by_seed.values()
        ]
        recalls, accuracies = [], []
        confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
        for _, truth, prediction in pooled:
            counts = _confusion(truth, prediction, classes)
            if absent := [name for name, total in zip(classes, counts.sum(axis=1), strict=True) if total == 0]:
                names = ", ".join(absent)
                raise ValueError(f"{ordered[0].model}: no test example of class {names}, so its recall does not exist")
            recalls.append(100 * float((counts.diagonal() / counts.sum(axis=1)).mean()))
            accuracies.append(100 * float(counts.trace() / counts.sum()))
            confusion += counts
        tally = Tally.of(pooled, classes)
        return cls(
            mean=statistics.fmean(recalls),
            std=statistics.stdev(recalls) if len(recalls) > 1 else None,
            interval=bootstrap_interval(tally),
            accuracy=statistics.fmean(accuracies),
            tally=tally,
            confusion=confusion,
            parameters=ordered[0].parameters,
            seeds=tuple(by_seed),
            seconds=tuple(sum(fold.seconds for fold in folds) for folds in by_seed.values()),
            outcomes=tuple(ordered),
        )

    @property
    def runs(self) -> tuple[Run, ...]:
        """The run directories, seed by seed and fold by fold; empty for a model that has none."""
        return tuple(outcome.run for outcome in self.outcomes if outcome.run is not None)

    @property
    def best_epochs(self) -> tuple[int, ...]:
        """The selected epoch of each run."""
        return tuple(run.result.best_epoch for run in self.runs)

    @property
    def folds(self) -> int:
        """Number of folds."""
        return len({outcome.fold for outcome in self.outcomes})

    def tested_against(self, reference: Self) -> PairedTest | None:
        """The paired test against another model, over the seeds that both were run with.

        Returns:
            None if they share no seed, or if :func:`~convrnn.experiments.statistics.paired_test` gives none.
        """
        shared = [seed for seed in self.seeds if seed in reference.seeds]
        if not shared:
            return None
        ours, theirs = (it.tally.of_seeds([it.seeds.index(seed) for seed in shared]) for it in (self, reference))
        return paired_test(ours, theirs)


def _confusion(truth: Sequence[str], prediction: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    number = {name: index for index, name in enumerate(classes)}
    places = [
        number[label] * len(classes) + number[predicted] for label, predicted in zip(truth, prediction, strict=True)
    ]
    return np.bincount(places, minlength=len(classes) ** 2).reshape(len(classes), len(classes))
