"""The paper's classifiers as scikit-learn estimators, for sequences of any lengths.

:class:`ConvRNNClassifier` trains and applies a model, and :class:`SequenceScaler` standardises its input within a
pipeline. Both need the extra ``speech``.
"""

from convrnn.sklearn.classifier import ConvRNNClassifier
from convrnn.sklearn.scaler import SequenceScaler

__all__ = ["ConvRNNClassifier", "SequenceScaler"]
