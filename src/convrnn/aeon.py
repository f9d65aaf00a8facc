"""The paper's classifiers as an aeon estimator; needs the extra ``aeon``."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from convrnn import sklearn

try:
    from aeon.classification import BaseClassifier
except ModuleNotFoundError as error:
    raise ImportError(
        f"convrnn.aeon needs {error.name}, which is not installed; run: pip install 'convrnn[aeon]'"
    ) from error


class ConvRNNClassifier(BaseClassifier):
    """:class:`convrnn.sklearn.ConvRNNClassifier` for aeon's collections of time series.

    Takes univariate and multivariate series of equal or unequal length. In aeon a series is ``[channels, timepoints]``;
    a time point is a frame, and a channel a feature.

    Args:
        front_end: As for :class:`convrnn.sklearn.ConvRNNClassifier`, and so are all other arguments.

    Attributes:
        classes_: The classes, sorted.
        classifier_: The fitted :class:`convrnn.sklearn.ConvRNNClassifier`.

    Raises:
        InputError: In ``fit``: an argument is not valid, or no class has two examples.

    Example:
        >>> from aeon.datasets import load_japanese_vowels
        >>> X, y = load_japanese_vowels("train")
        >>> classifier = ConvRNNClassifier(max_epochs=1, n_estimators=1).fit(X, y)
        >>> classifier.predict_proba(X[:2]).shape
        (2, 9)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": ["np-list", "numpy3D"],
        "algorithm_type": "deeplearning",
        "capability:multivariate": True,
        "capability:unequal_length": True,
        "capability:multithreading": True,
        "python_dependencies": ["lightning_fabric", "torch"],
    }

    def __init__(
        self,
        front_end: str = "clstm",
        *,
        setting: str = "paralinguistic",
        normalise: Literal["corpus", "utterance"] | None = "corpus",
        balance: bool = False,
        n_estimators: int = 5,
        validation_fraction: float = 0.2,
        max_epochs: int = 100,
        patience: int = 12,
        batch_size: int = 32,
        learning_rate: float = 0.002,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        n_jobs: int = 1,
    ) -> None:
        self.front_end = front_end
        self.setting = setting
        self.normalise = normalise
        self.balance = balance
        self.n_estimators = n_estimators
        self.validation_fraction = validation_fraction
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device
        self.n_jobs = n_jobs
        super().__init__()

    def _fit(self, X: Sequence[NDArray[Any]], y: NDArray[Any]) -> "ConvRNNClassifier":
        self.classifier_ = sklearn.ConvRNNClassifier(**self.get_params())
        self.classifier_.fit(_frames_first(X), y)
        return self

    def _predict(self, X: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return self.classifier_.predict(_frames_first(X))

    def _predict_proba(self, X: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        return self.classifier_.predict_proba(_frames_first(X))

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:  # noqa: ARG003 - aeon's signature
        return {"max_epochs": 2, "n_estimators": 2}


def _frames_first(series: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    return [x.T for x in series]
