"""Standardisation of sequences as a step of a scikit-learn pipeline."""

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from convrnn.features.normalise import Statistics
from convrnn.sklearn.sequences import SequencesLike, is_table, read_sequences


class SequenceScaler(TransformerMixin, BaseEstimator):
    """Standardises each feature over all frames of all training sequences.

    It is :class:`sklearn.preprocessing.StandardScaler` for sequences: a frame is a sample. Features that were constant
    become 0. :class:`~convrnn.sklearn.ConvRNNClassifier` does the same by default; as a step of its own the
    standardised sequences can also go to other estimators.

    Attributes:
        mean_: float64 ``[features]``.
        scale_: Population standard deviation, float64 ``[features]``.
        n_features_in_: Number of features of a frame; for a table, the number of columns.

    Example:
        >>> scaler = SequenceScaler().fit([np.array([[0.0], [4.0]]), np.array([[2.0]])])
        >>> scaler.mean_.tolist(), [x.tolist() for x in scaler.transform([np.array([[2.0]])])]
        ([2.0], [[[0.0]]])
    """

    def fit(self, X: SequencesLike, y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Computes the statistics of the training sequences.

        Args:
            X: Sequences; see :func:`~convrnn.sklearn.sequences.read_sequences`. In a table all values are of one
                feature.
            y: Ignored.

        Raises:
            InputError: ``X`` does not hold sequences.
        """
        statistics = Statistics.of(read_sequences(self, X, reset=True))
        self.mean_, self.scale_ = statistics.mean, statistics.std
        return self

    def transform(self, X: SequencesLike) -> list[NDArray[np.float32]] | NDArray[np.float32]:
        """Standardises sequences.

        Args:
            X: As for :meth:`fit`.

        Returns:
            float32 copies: an array if ``X`` is one, else a list.

        Raises:
            InputError: ``X`` does not hold sequences of the same features.
        """
        check_is_fitted(self)
        statistics = Statistics(self.mean_, self.scale_)
        sequences = [statistics.apply(x) for x in read_sequences(self, X, reset=False)]
        if is_table(X):
            return np.concatenate(sequences, axis=1).T
        return np.stack(sequences) if getattr(X, "ndim", 1) == 3 else sequences

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = []
        return tags
