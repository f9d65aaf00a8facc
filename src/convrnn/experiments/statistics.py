"""Intervals and tests of UA recall: test speakers and seeds are the samples, never single utterances.

Utterances of one speaker resemble each other, and all seeds are tested on the same speakers. Everything here therefore
starts from counts per seed, speaker and class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import bisect
from scipy.special import stdtrit

RESAMPLES = 10_000
"""Bootstrap resamples of an interval."""

LEVEL = 0.95
"""Confidence of every interval."""

SMALLEST_P = 1e-12
"""A p-value below this is given as this."""

_RESAMPLES_AT_ONCE = 1000

_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What one model got right, by seed, speaker and class, over all folds.

    Attributes:
        speakers: the test speakers.
        hits: correct predictions ``[seeds, speakers, classes]``.
        totals: utterances ``[speakers, classes]``, the same for every seed.
    """

    speakers: tuple[str, ...]
    hits: NDArray[np.int64]
    totals: NDArray[np.int64]

    @classmethod
    def of(cls, seeds: Sequence[tuple[Sequence[str], Sequence[str], Sequence[str]]], classes: Sequence[str]) -> Self:
        """Count predictions.

        Args:
            seeds: per seed the speaker, the label and the prediction of each test utterance of all folds.
            classes: all classes.

        Raises:
            ValueError: for a class without test example, whose recall does not exist, and for seeds that were not
                tested on the same utterances.

        Example:
            >>> tally = Tally.of([("sst", "aba", "abb"), ("sst", "aba", "bba")], "ab")
            >>> tally.totals.tolist(), tally.hits[0].tolist(), tally.ua_recalls.tolist()
            ([[1, 1], [1, 0]], [[1, 1], [0, 0]], [75.0, 75.0])
        """
        speakers = tuple(sorted(set(seeds[0][0])))
        row = {name: index for index, name in enumerate(speakers)}
        column = {name: index for index, name in enumerate(classes)}
        hits = np.zeros((len(seeds), len(speakers), len(classes)), dtype=np.int64)
        totals = np.zeros_like(hits)
        for seed, (said_by, truth, prediction) in enumerate(seeds):
            if not set(said_by) <= set(speakers):
                raise ValueError("the seeds were not tested on the same speakers")
            for speaker, label, predicted in zip(said_by, truth, prediction, strict=True):
                totals[seed, row[speaker], column[label]] += 1
                hits[seed, row[speaker], column[label]] += label == predicted
        if (totals != totals[0]).any():
            raise ValueError("the seeds were not tested on the same utterances")
        if absent := [name for name, total in zip(classes, totals[0].sum(axis=0), strict=True) if total == 0]:
            raise ValueError(f"no test example of class {', '.join(absent)}, so its recall does not exist")
        return cls(speakers, hits, totals[0])

    @property
    def recalls(self) -> NDArray[np.float64]:
        """Recall of each class in percent ``[seeds, classes]``, all speakers pooled."""
        return np.asarray(100 * self.hits.sum(axis=1) / self.totals.sum(axis=0))

    @property
    def ua_recalls(self) -> NDArray[np.float64]:
        """UA recall of each seed in percent ``[seeds]``, all speakers pooled."""
        return np.asarray(self.recalls.mean(axis=1))

    @property
    def speaker_recalls(self) -> NDArray[np.float64]:
        """UA recall of each speaker over the classes that the speaker has, mean over seeds, in percent ``[speakers]``.

        Example:
            >>> Tally.of([("sst", "aba", "abb"), ("sst", "aba", "bba")], "ab").speaker_recalls.tolist()
            [75.0, 50.0]
        """
        has = self.totals > 0
        shares = self.hits.mean(axis=0) / np.maximum(self.totals, 1)
        return np.asarray(100 * shares.sum(axis=1, where=has) / has.sum(axis=1))

    @property
    def speakers_suffice(self) -> bool:
        """Whether each class has two test speakers: one alone does not tell how much others would differ."""
        return bool(((self.totals > 0).sum(axis=0) > 1).all())


def bootstrap_interval(tally: Tally, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean UA recall over the seeds, by resampling speakers.

    Each resample draws as many speakers as there are, with replacement, and pools their utterances; one that has no
    utterance of some class is drawn again, since its UA recall does not exist. The seeds are those that were run: how
    much they scatter is told by the standard deviation.

    Args:
        tally: a model's counts.
        resamples: how many.
        seed: of the draws; one seed draws the same speakers for all models that have the same ones.

    Returns:
        The limits in percent; None where a class has a single speaker.

    Example:
        >>> tally = Tally.of([("aabbccdd", "xyxyxyxy", "xyxxxyyy")], "xy")
        >>> bootstrap_interval(tally)
        (50.0, 100.0)
    """
    if not tally.speakers_suffice:
        return None
    count = len(tally.speakers)
    generator = np.random.default_rng(seed)
    # Whole numbers until the division, so that no order of summation shows.
    hits = tally.hits.sum(axis=0).astype(np.float64)
    found: list[NDArray[np.float64]] = []
    missing = resamples
    while missing:
        drawn = generator.integers(count, size=(min(missing, _RESAMPLES_AT_ONCE), count))
        rows = np.arange(len(drawn))[:, None] * count
        weights = np.bincount((drawn + rows).ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
        totals = weights @ tally.totals
        whole = (totals > 0).all(axis=1)
        found.append((weights[whole] @ hits / totals[whole]).mean(axis=1) / len(tally.hits))
        missing -= int(whole.sum())
    low, high = np.quantile(np.concatenate(found), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return 100 * float(low), 100 * float(high)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model beside another one, on the same speakers with the same seeds.

    Attributes:
        difference: of the mean UA recalls in percent.
        low: lower limit of its 95 % interval, not below -100.
        high: upper limit, not above 100.
        p: two-sided p-value, not corrected, at least :data:`SMALLEST_P`.
    """

    difference: float
    low: float
    high: float
    p: float


def paired_test(model: Tally, other: Tally) -> Comparison | None:
    """Test whether a model's UA recall differs from another's, for new speakers and new seeds alike.

    The design is that of reader studies in radiology: every seed (there: reader) is tested on every speaker (there:
    case), under both models. With ``d`` the differences of the seeds, the variance of their mean is that of Obuchowski
    and Rockette (1995): ``var(d) / seeds``, with ddof = 1, plus the covariance that any two seeds have because they
    share the speakers, from the jackknife over speakers and taken as 0 where it is negative. Since the first part has
    only ``seeds - 1`` degrees of freedom and the second ``speakers - 1``, each gets its own quantile of Student's t
    (Banerjee 1960): the interval is ``± sqrt(t1² part1 + t2² part2)``, and p is where it ends at 0. With one seed, the
    only part is the jackknife variance of its difference.

    Resampling five seeds with replacement, instead, rejects too often where seeds matter: their resampled mean varies
    by a fifth too little, and has no heavy tails.

    Args:
        model: counts of the one.
        other: counts of the other, whose speakers, utterances and seeds are the same.

    Returns:
        The comparison; None where a class has a single speaker, and where the difference is not 0 but the same for all
        seeds and speakers, which leaves nothing to judge it by.

    Raises:
        ValueError: where the two were not tested on the same utterances by the same number of seeds.

    Example:
        >>> speakers, truth = "aabbccdd", "xyxyxyxy"
        >>> better = Tally.of([(speakers, truth, "xyxyxyxx"), (speakers, truth, "xyxyxyyy")], "xy")
        >>> worse = Tally.of([(speakers, truth, "xxxxxyxx"), (speakers, truth, "xxxyxxyx")], "xy")
        >>> found = paired_test(better, worse)
        >>> found.difference, round(found.p, 3)
        (31.25, 0.126)
    """
    if model.hits.shape != other.hits.shape or not np.array_equal(model.totals, other.totals):
        raise ValueError("paired models need the same test utterances and the same number of seeds")
    if not model.speakers_suffice:
        return None
    seeds, speakers, _ = model.hits.shape
    hits = model.hits - other.hits
    differences = 100 * (hits.sum(axis=1) / model.totals.sum(axis=0)).mean(axis=1)
    covariance = _jackknife_covariance(hits, model.totals)
    if seeds > 1:
        of_seeds = float(differences.var(ddof=1)) / seeds
        shared = float(covariance[~np.eye(seeds, dtype=bool)].mean())
        of_speakers = max(shared, 0.0)
    else:
        of_seeds, of_speakers = 0.0, float(covariance[0, 0])

    def margin(p: float) -> float:
        """Half the width of the interval of confidence ``1 - p``."""
        square = of_speakers * stdtrit(speakers - 1, p / 2) ** 2
        if seeds > 1:
            square += of_seeds * stdtrit(seeds - 1, p / 2) ** 2
        return math.sqrt(square)

    difference = float(differences.mean())
    size = abs(difference)
    if of_seeds + of_speakers < _ROUNDING:
        return Comparison(0.0, 0.0, 0.0, 1.0) if size < _ROUNDING else None
    if margin(SMALLEST_P) <= size:
        p = SMALLEST_P
    else:
        p = math.exp(bisect(lambda power: margin(math.exp(power)) - size, math.log(SMALLEST_P), 0.0))
    half = margin(1 - LEVEL)
    return Comparison(difference, max(difference - half, -100.0), min(difference + half, 100.0), p)


def _jackknife_covariance(hits: NDArray[np.int64], totals: NDArray[np.int64]) -> NDArray[np.float64]:
    """Covariance of the seeds' UA recalls in percent over the speakers ``[seeds, seeds]``."""
    without = (hits.sum(axis=1, keepdims=True) - hits) / (totals.sum(axis=0) - totals)
    left_out = 100 * without.mean(axis=2)
    deviations = left_out - left_out.mean(axis=1, keepdims=True)
    count = len(totals)
    return np.asarray((count - 1) / count * deviations @ deviations.T)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the probability of any false rejection stays below the level.

    Args:
        p_values: of all comparisons that are looked at together.

    Returns:
        Corrected p-values in the same order.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
