"""Confidence intervals and tests of UA recall, with test speakers and seeds as the samples, not utterances.

Utterances of one speaker resemble each other, and all seeds are tested on the same speakers. Everything here therefore
starts from counts per seed, speaker and class.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import bisect
from scipy.sparse import csr_array
from scipy.special import stdtrit

RESAMPLES = 10_000
"""Bootstrap resamples of an interval."""

LEVEL = 0.95
"""Confidence of every interval."""

SMALLEST_P = 1e-12
"""Smaller p-values are reported as this."""

_RESAMPLES_AT_ONCE = 1000

_LEAST_WHOLE = 0.01
"""An interval needs at least this share of the resamples to contain every class."""

_ROUNDING = 1e-12

Counts = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """What one model got right, by seed, speaker and class, over all folds.

    Attributes:
        speakers: the test speakers.
        hits: correct predictions ``[seeds, speakers, classes]``.
        totals: utterances ``[speakers, classes]``, the same for every seed.
    """

    speakers: tuple[str, ...]
    hits: Counts
    totals: Counts

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

        def count(said_by: Sequence[str], truth: Sequence[str], weights: Sequence[float] | None = None) -> Counts:
            if not set(said_by) <= set(speakers):
                raise ValueError("the seeds were not tested on the same speakers")
            places = [row[name] * len(classes) + column[label] for name, label in zip(said_by, truth, strict=True)]
            counts = np.bincount(places, weights, minlength=len(speakers) * len(classes))
            return counts.reshape(len(speakers), len(classes)).astype(np.int64)

        totals = count(*seeds[0][:2])
        # The smallest type that holds the counts and their differences: speakers times classes can be millions.
        small = np.min_scalar_type(-1 - int(totals.max(initial=0)))
        hits = np.zeros((len(seeds), *totals.shape), dtype=small)
        for seed, (said_by, truth, prediction) in enumerate(seeds):
            if (count(said_by, truth) != totals).any():
                raise ValueError("the seeds were not tested on the same utterances")
            right = [float(label == predicted) for label, predicted in zip(truth, prediction, strict=True)]
            hits[seed] = count(said_by, truth, right)
        if absent := [name for name, total in zip(classes, totals.sum(axis=0), strict=True) if total == 0]:
            raise ValueError(f"no test example of class {', '.join(absent)}, so its recall does not exist")
        return cls(speakers, hits, totals)

    def of_seeds(self, positions: Sequence[int]) -> Self:
        """The counts of some of the seeds.

        Args:
            positions: which, from 0.
        """
        return replace(self, hits=self.hits[list(positions)])

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
        """Whether each class has at least two test speakers; one alone says nothing about how speakers differ."""
        return bool(((self.totals > 0).sum(axis=0) > 1).all())


def bootstrap_interval(tally: Tally, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean UA recall over the seeds, by resampling speakers.

    Each resample draws as many speakers as there are, with replacement, and pools their utterances. One without any
    utterance of some class has no UA recall and is drawn again. The seeds are not resampled: their spread is what the
    standard deviation shows.

    Args:
        tally: a model's counts.
        resamples: number of resamples.
        seed: seed of the draws; with the same seed, models tested on the same speakers get the same resamples.

    Returns:
        The limits in percent. None if a class has a single speaker, and if classes have so few speakers that
        fewer than one in a hundred resamples contains them all.

    Example:
        >>> tally = Tally.of([("aabbccdd", "xyxyxyxy", "xyxxxyyy")], "xy")
        >>> bootstrap_interval(tally)
        (50.0, 100.0)
    """
    if not tally.speakers_suffice:
        return None
    count = len(tally.speakers)
    generator = np.random.default_rng(seed)
    # Integers until the division, so the order of summation does not matter. With many classes, most counts are 0.
    of_class = csr_array(tally.totals.T.astype(np.float64))
    hits_of_class = csr_array(tally.hits.sum(axis=0).T.astype(np.float64))
    found: list[NDArray[np.float64]] = []
    missing = resamples
    while missing:
        drawn = generator.integers(count, size=(min(missing, _RESAMPLES_AT_ONCE), count))
        places = drawn * len(drawn) + np.arange(len(drawn))[:, None]
        # How often each speaker was drawn: [speakers, draws].
        weights = np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape[::-1]).astype(np.float64)
        totals = of_class @ weights
        whole = (totals > 0).all(axis=0)
        if not found and whole.mean() < _LEAST_WHOLE:
            return None
        shares = (hits_of_class @ weights)[:, whole] / totals[:, whole]
        # Contiguous, so that the sum over the classes of a draw always runs in the same order.
        found.append(np.ascontiguousarray(shares.T).mean(axis=1) / len(tally.hits))
        missing -= int(whole.sum())
    low, high = np.quantile(np.concatenate(found), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return 100 * float(low), 100 * float(high)


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The difference between two models that were tested on the same speakers with the same seeds.

    Attributes:
        difference: difference of the mean UA recalls in percent.
        low: lower limit of its 95 % interval, not below -100.
        high: upper limit, not above 100.
        p: two-sided p-value, not corrected, at least :data:`SMALLEST_P`.
    """

    difference: float
    low: float
    high: float
    p: float


def paired_test(model: Tally, other: Tally) -> PairedTest | None:
    """Test whether two models differ in UA recall, generalising to new speakers and new seeds.

    The design is that of reader studies in radiology: every seed (there: reader) is tested on every speaker (there:
    case), under both models. With ``d`` the differences of the seeds, the variance of their mean is that of Obuchowski
    and Rockette (1995): ``var(d) / seeds``, with ddof = 1, plus the covariance that any two seeds have because they
    share the speakers, from the jackknife over speakers and taken as 0 if it is negative. Since the first part has
    only ``seeds - 1`` degrees of freedom and the second ``speakers - 1``, each gets its own quantile of Student's t
    (Banerjee 1960): the interval is ``± sqrt(t1² part1 + t2² part2)``, and p is where it ends at 0. With one seed, the
    only part is the jackknife variance of its difference.

    Bootstrapping five seeds instead would reject too often where seeds matter: the variance of the resampled mean is a
    fifth too small, and its tails are too light.

    Args:
        model: counts of the first model.
        other: counts of the second, with the same speakers, utterances and seeds.

    Returns:
        The test. None if a class has a single speaker, and if the difference is not 0 but the same for all seeds
        and speakers, so that its variance cannot be estimated.

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
        return PairedTest(0.0, 0.0, 0.0, 1.0) if size < _ROUNDING else None
    if margin(SMALLEST_P) <= size:
        p = SMALLEST_P
    else:
        p = math.exp(bisect(lambda power: margin(math.exp(power)) - size, math.log(SMALLEST_P), 0.0))
    half = margin(1 - LEVEL)
    return PairedTest(difference, max(difference - half, -100.0), min(difference + half, 100.0), p)


def _jackknife_covariance(hits: Counts, totals: Counts) -> NDArray[np.float64]:
    """Covariance of the seeds' UA recalls in percent over the speakers ``[seeds, seeds]``."""
    others = totals.sum(axis=0) - totals
    left_out = 100 * np.array([((seed.sum(axis=0) - seed) / others).mean(axis=1) for seed in hits])
    deviations = left_out - left_out.mean(axis=1, keepdims=True)
    count = len(totals)
    return np.asarray((count - 1) / count * deviations @ deviations.T)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the probability of any false rejection stays below the level.

    Args:
        p_values: one per comparison, all that are made together.

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
