"""What the estimators accept as ``X``: sequences of frames, or a table whose rows are univariate series."""

import os
from collections.abc import Mapping, Sequence, Set
from typing import Any, TypeGuard

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from convrnn.errors import InputError, one_sentence

SequencesLike = NDArray[Any] | Sequence[Any]
"""What the estimators take as ``X``."""

_NAME = (str, os.PathLike)


def read_sequences(estimator: BaseEstimator, X: SequencesLike, *, reset: bool) -> list[NDArray[Any]]:
    """The sequences in ``X``, checked.

    Args:
        estimator: The estimator that was given ``X``.
        X: A list or object array of arrays ``[frames, features]``, which may differ in length; an array
            ``[sequences, frames, features]``; or a table ``[sequences, frames]`` of univariate series, as
            scikit-learn's other estimators take.
        reset: Whether the estimator is being fitted. Then its ``n_features_in_`` is set (see below); otherwise ``X``
            must have the same number of features.

    Returns:
        Arrays ``[frames, features]``, each with at least one frame. ``n_features_in_`` is the number of features of a
        frame; for a table it is the number of columns, as in scikit-learn, and each sequence has one feature.

    Raises:
        InputError: ``X`` is something else, such as names of files, or a sequence has no frame, another number of
            features or values that are not finite.
        ValueError: From scikit-learn, for a table.
    """
    if holds_files(X):
        raise InputError(f"X holds names of files; {type(estimator).__name__} takes arrays of frames")
    if is_table(X):
        table = validate_data(estimator, X, reset=reset)
        sequences, width = list(table[:, :, None]), 1
    else:
        sequences = [_sequence(number, x) for number, x in enumerate(X)]
        width = sequences[0].shape[1]
        if reset:
            estimator.n_features_in_ = width
            estimator.__dict__.pop("feature_names_in_", None)
    if reset:
        estimator._frame_width = width
    expected: int = estimator._frame_width
    for number, x in enumerate(sequences):
        if x.shape[1] != expected:
            raise InputError(
                f"X[{number}] has {x.shape[1]} features per frame; {type(estimator).__name__} expects {expected}"
            )
    return sequences


def is_table(X: SequencesLike) -> bool:
    """Whether ``X`` is, or should be, two-dimensional, so that scikit-learn's own checks apply.

    Example:
        >>> is_table([[1.0, 2.0], [3.0, 4.0]]), is_table([[[1.0], [2.0]], [[3.0]]]), is_table(np.ones((5, 9, 2)))
        (True, False, False)
    """
    axes = getattr(X, "ndim", 1)
    if axes != 1:
        return bool(axes == 2)
    if not hasattr(X, "__len__") or len(X) == 0:
        return True
    try:
        return np.ndim(next(iter(X))) < 2
    except ValueError:  # a list of rows of different lengths
        return False


def holds_files(X: SequencesLike) -> TypeGuard[Sequence[str | os.PathLike[str]]]:
    """Whether ``X`` is a list, array or series of file names.

    Raises:
        InputError: ``X`` is nothing that the estimators take, or a table of names, or holds names and other things.

    Example:
        >>> holds_files(["anna/001.wav", "anna/002.wav"]), holds_files([[1.0, 2.0]])
        (True, False)
    """
    if X is None or isinstance(X, str) or (isinstance(X, list | tuple) and len(X) == 0):
        raise InputError(f"X is {one_sentence(repr(X), 40)}; a list or array of sequences is needed")
    if isinstance(X, Mapping | Set) and not hasattr(X, "ndim"):  # a sparse array may be a dict, too
        raise InputError(f"X is a {type(X).__name__}; a list or array of sequences is needed")
    if isinstance(X, np.ndarray | pd.DataFrame) and X.ndim == 2:
        if any(isinstance(x, _NAME) for x in np.asarray(X[:1], dtype=object).flat):
            raise InputError("X is a table that holds text; pass names of files as a list or column, such as X['file']")
        return False
    if getattr(X, "ndim", 1) != 1 or not hasattr(X, "__len__"):
        return False
    is_name = [isinstance(x, _NAME) for x in X]
    if len(set(is_name)) == 2:
        name, other = is_name.index(True), is_name.index(False)
        raise InputError(f"X[{name}] is the name of a file, but X[{other}] is not; all or none must be")
    return any(is_name)


def _sequence(number: int, x: ArrayLike) -> NDArray[Any]:
    try:
        array = np.asarray(x)
    except ValueError:
        raise InputError(f"X[{number}] has frames of different widths; all must have the same features") from None
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"X[{number}] has shape {array.shape}; allowed: [frames, features] with at least one of each")
    if array.dtype.kind not in "biuf":
        raise InputError(f"X[{number}] holds values of type {array.dtype}; real numbers are needed")
    if not np.isfinite(array).all():
        raise InputError(f"X[{number}] holds NaN or infinite values; remove or replace them")
    return array
