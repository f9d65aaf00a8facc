"""The metrics of section IV, computed from class indices: UA recall, accuracy, recalls and confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = Sequence[int] | NDArray[np.int64]


def recalls(truth: Indices, prediction: Indices, num_classes: int) -> list[float | None]:
    """The recall of each class; None for a class without examples.

    Args:
        truth: Class index of each example.
        prediction: Predicted class index of each example.
        num_classes: Number of classes.

    Example:
        >>> recalls([0, 0, 1], [0, 1, 1], 3)
        [0.5, 1.0, None]
    """
    true, predicted = _array(truth), _array(prediction)
    examples = np.bincount(true, minlength=num_classes)
    correct = np.bincount(true[true == predicted], minlength=num_classes)
    return [c / n if n else None for c, n in zip(correct.tolist(), examples.tolist(), strict=True)]


def ua_recall(truth: Indices, prediction: Indices, num_classes: int) -> float:
    """Unweighted average recall: the mean of the recalls of all classes (section IV-A).

    Args:
        truth: Class index of each example.
        prediction: Predicted class index of each example.
        num_classes: Number of classes.

    Raises:
        ValueError: A class has no example, so that its recall is undefined.

    Example:
        >>> ua_recall([0, 0, 1, 1], [0, 1, 1, 1], 2)
        0.75
    """
    per_class = recalls(truth, prediction, num_classes)
    if missing := [index for index, recall in enumerate(per_class) if recall is None]:
        raise ValueError(f"UA recall needs an example of each of the {num_classes} classes; there is none of {missing}")
    return float(np.mean(np.array(per_class, np.float64)))


def accuracy(truth: Indices, prediction: Indices) -> float:
    """The share of examples predicted correctly.

    Raises:
        ValueError: There is no example.

    Example:
        >>> accuracy([0, 0, 1, 1], [0, 1, 1, 1])
        0.75
    """
    if len(truth) == 0:
        raise ValueError("accuracy needs at least one example")
    return float(np.count_nonzero(_array(truth) == _array(prediction)) / len(truth))


def confusion(truth: Indices, prediction: Indices, num_classes: int) -> list[list[int]]:
    """The confusion matrix: counts of examples, a row per true class, a column per predicted class.

    Example:
        >>> confusion([0, 0, 1, 1], [0, 1, 1, 1], 2)
        [[1, 1], [0, 2]]
    """
    positions = num_classes * _array(truth) + _array(prediction)
    counts = np.bincount(positions, minlength=num_classes**2).reshape(num_classes, num_classes)
    matrix: list[list[int]] = counts.tolist()
    return matrix


@dataclass(frozen=True)
class Scores:
    """All metrics of one set of predictions.

    Attributes:
        ua_recall: Unweighted average recall in 0..1; None if a class has no example.
        accuracy: Share of correct predictions.
        recalls: Recall per class; None for a class without examples.
        confusion: Counts of examples, a row per true class, a column per predicted class.
    """

    ua_recall: float | None
    accuracy: float
    recalls: tuple[float | None, ...]
    confusion: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, truth: Indices, prediction: Indices, num_classes: int) -> "Scores":
        """Computes all metrics from true and predicted class indices.

        Example:
            >>> Scores.of([0, 0], [0, 1], 2).ua_recall is None  # no example of class 1
            True
        """
        per_class = recalls(truth, prediction, num_classes)
        return cls(
            ua_recall=None if None in per_class else ua_recall(truth, prediction, num_classes),
            accuracy=accuracy(truth, prediction),
            recalls=tuple(per_class),
            confusion=tuple(map(tuple, confusion(truth, prediction, num_classes))),
        )


def _array(indices: Indices) -> NDArray[np.int64]:
    return np.asarray(indices, np.int64)
