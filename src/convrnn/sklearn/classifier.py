"""The paper's classifiers as a scikit-learn estimator."""

import os
from collections.abc import Sequence, Sized
from typing import Any, Literal, Self

import numpy as np
from joblib import effective_n_jobs
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from convrnn.arguments import check_choice, check_number
from convrnn.corpora.labelled import HIGHEST_DEFAULT_RATE
from convrnn.errors import Argument, InputError
from convrnn.features.base import SAMPLE_RATES, Features
from convrnn.features.config import feature_config_of
from convrnn.features.extract import Segment, extract_features
from convrnn.features.normalise import Normaliser
from convrnn.features.registry import FEATURES
from convrnn.models.bundle import log_probabilities
from convrnn.models.classifier import SequenceClassifier
from convrnn.models.config import SequenceClassifierConfig
from convrnn.models.presets import FRONT_ENDS, SETTINGS, preset
from convrnn.sklearn.hold_out import hold_out
from convrnn.sklearn.sequences import SequencesLike, holds_files, read_sequences
from convrnn.training.checkpoint import TrainingState
from convrnn.training.config import MOST_SEED, training_config
from convrnn.training.data import Examples
from convrnn.training.environment import environment
from convrnn.training.learner import Learner
from convrnn.training.loop import train
from convrnn.training.placement import Placement
from convrnn.training.predict import faults_of
from convrnn.training.spec import model_on

POLICIES = ("corpus", "utterance", None)
MOST_ESTIMATORS = 1000


class ConvRNNClassifier(ClassifierMixin, BaseEstimator):
    """Classifies sequences of any lengths with the paper's models (section IV).

    ``fit`` trains a few networks and ``predict_proba`` averages their probabilities. Each network holds out another
    random share of the training data for validation: the epoch with the lowest misclassification rate on it is kept,
    of equal epochs the first, and training stops after ``patience`` epochs without improvement. If the sequences come
    from several speakers, patients or machines, pass them as ``groups``, so that validation is on other ones than
    training.

    ``X`` may be

    - a list or object array of arrays ``[frames, features]``, which may differ in length;
    - an array ``[sequences, frames, features]``;
    - a table ``[sequences, frames]`` of univariate series, as scikit-learn's other estimators take;
    - names of audio files, whose features are computed. Files that are damaged, or sampled at a lower rate than the
      features need, are refused.

    A sequence that is shorter than the windows of the model (7 frames in the default setting, 31 in "emotion") is
    padded with zeros after standardisation.

    Args:
        front_end: The layers that compute features of windows: "baseline" (none), "conv", "crnn", "cgru", "clstm",
            "extended-clstm", "cblstm" or another of ``convrnn.models.FRONT_ENDS``.
        setting: "paralinguistic" (section IV-B): one layer and pooling, one output in 4 frames, and an LSTM in both
            directions; or "emotion" (section IV-A): two layers, one output in 16 frames, and an LSTM in one direction.
        normalise: "corpus" standardises each feature with mean and deviation over the training data. "utterance"
            standardises each sequence by itself, which removes level and scale: for sequences that each come from
            another speaker or sensor, where these would mislead. None leaves the features as they are.
        balance: Whether examples of the smaller classes are repeated until all classes have the same size (section
            IV-A): for recall averaged over the classes, rather than accuracy.
        n_estimators: Number of networks, to which the time of fitting is proportional. Several help where sequences are
            few, since each network does without its validation share.
        validation_fraction: Share of the training data that each network holds out: of the groups if there are any,
            otherwise of the sequences of each class.
        max_epochs: Maximum number of epochs.
        patience: Number of epochs without improvement before training stops. If there are only a few dozen sequences,
            an epoch has few steps, and more patience may help.
        batch_size: Sequences per step.
        learning_rate: Learning rate of Adam.
        features: For audio files: "logmel", "egemaps" or another of ``convrnn.features.registry.FEATURES``.
        sample_rate: For audio files: Hz to which they are resampled; by default the lowest rate of the training files,
            16 kHz at most.
        random_state: Seed of initial weights, order and validation share. The same seed, data and software give the
            same model. None or a generator draws another seed in every fit.
        device: "auto" (a CUDA GPU if there is one, then Apple's GPU, then the CPU), "cpu", "cuda", "cuda:N" for GPU
            number N, or "mps".
        n_jobs: Number of CPU threads; -1 for all cores. None is 1, except within joblib.

    Attributes:
        classes_: The classes, sorted.
        n_features_in_: Number of features of a frame; for a table, the number of columns.
        models_: The networks, each a :class:`convrnn.models.SequenceClassifier`, on the CPU.
        history_: For each network the reports on its epochs, each a
            :class:`~convrnn.training.epochs.EpochReport`; ``pandas.DataFrame(classifier.history_[0])`` shows them.
        normaliser_: The :class:`~convrnn.features.normalise.Normaliser`; None without standardisation.
        features_: The features of audio files; None if the training data were arrays.

    Note:
        scikit-learn's ``check_estimator`` passes, with tables; no check is left out. ``GridSearchCV`` and others pass
        ``groups`` on only with ``sklearn.set_config(enable_metadata_routing=True)`` and
        ``ConvRNNClassifier().set_fit_request(groups=True)``; a pipeline takes them as ``convrnnclassifier__groups=``.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> y = np.array(["rising", "falling"] * 20)
        >>> slopes = np.where(y == "rising", 0.3, -0.3)
        >>> X = [slope * np.arange(n)[:, None] for slope, n in zip(slopes, rng.integers(7, 30, 40))]
        >>> classifier = ConvRNNClassifier(max_epochs=5, n_estimators=1).fit(X, y)
        >>> classifier.predict(X[:2]).tolist(), classifier.score(X, y)
        (['rising', 'falling'], 1.0)
    """

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
        features: str = "logmel",
        sample_rate: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        n_jobs: int | None = 1,
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
        self.features = features
        self.sample_rate = sample_rate
        self.random_state = random_state
        self.device = device
        self.n_jobs = n_jobs

    def fit(self, X: SequencesLike, y: ArrayLike, groups: Sequence[object] | None = None) -> Self:
        """Trains the networks.

        Args:
            X: The training sequences, in one of the forms above.
            y: The class of each sequence: numbers or strings.
            groups: The group of each sequence, such as its speaker; no network is validated on a group that it was
                trained on. By default all sequences are independent.

        Raises:
            InputError: An argument is not valid, ``y`` has one class, there is nothing to hold out, or a sequence or
                file cannot be used.
            NonFiniteLossError: Training diverged.
        """
        self._check_parameters()
        placement = Placement.of(str(self.device))
        labels = validate_data(self, X="no_validation", y=y)
        check_classification_targets(labels)
        sequences = self._read(X, reset=True)
        for name, values in (("y", labels), ("groups", groups)):
            if isinstance(values, Sized) and len(values) != len(sequences):
                raise InputError(f"{name} has {len(values)} values, but X has {len(sequences)} sequences")
        self.classes_, classes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has only one class, {self.classes_.tolist()[0]!r}; at least two are needed")
        self.normaliser_ = None if self.normalise is None else Normaliser(self.normalise).fit(sequences)
        examples = Examples(self._normalised(sequences), classes.astype(np.int64))
        config = self._model_config()
        self.models_, self.history_ = [], []
        with environment(device=placement.device, threads=effective_n_jobs(self.n_jobs)):
            for seed in self._seeds():
                state = self._train(config, examples, groups, seed, placement)
                model = SequenceClassifier(config).eval()
                model.load_state_dict(state.best_model)
                self.models_.append(model)
                self.history_.append(state.reports)
        return self

    def predict_proba(self, X: SequencesLike) -> NDArray[np.float64]:
        """The probability of each class, ``[sequences, classes]``, classes in the order of ``classes_``.

        Args:
            X: Sequences, in any of the forms above.

        Raises:
            InputError: A sequence or file cannot be used, or has other features than those in training; or these are
                arrays and the training data were files, or the reverse.
            sklearn.exceptions.NotFittedError: ``fit`` was not called before.
        """
        check_is_fitted(self)
        sequences = self._normalised(self._read(X, reset=False))
        placement = Placement.of(str(self.device))
        probabilities = []
        with environment(device=placement.device, threads=effective_n_jobs(self.n_jobs)):
            for model in self.models_:
                try:
                    found = log_probabilities(model.to(str(placement)), sequences, batch_size=self.batch_size)
                finally:
                    model.cpu()  # so that a pickled classifier can be loaded without a GPU
                probabilities.append(np.exp(found, dtype=np.float64))
        mean: NDArray[np.float64] = np.mean(probabilities, axis=0)
        return mean

    def predict(self, X: SequencesLike) -> NDArray[Any]:
        """The most probable class of each sequence.

        Args:
            X: Sequences, in any of the forms above.

        Raises:
            InputError: As :meth:`predict_proba`.
            sklearn.exceptions.NotFittedError: ``fit`` was not called before.
        """
        best = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[best]
        return predicted

    def _check_parameters(self) -> None:
        check_choice("front_end", self.front_end, FRONT_ENDS)
        check_choice("setting", self.setting, SETTINGS)
        check_choice("features", self.features, FEATURES)
        if self.normalise not in POLICIES:
            raise InputError(
                Argument("normalise", self.normalise), ": unknown value; allowed: 'corpus', 'utterance' and None"
            )
        check_number("n_estimators", self.n_estimators, 1, MOST_ESTIMATORS)
        check_number("validation_fraction", self.validation_fraction, 0.001, 0.999)
        check_number("sample_rate", self.sample_rate, *SAMPLE_RATES)
        if isinstance(self.random_state, int | np.integer):
            check_number("random_state", int(self.random_state), 0, MOST_SEED)
        self._training = training_config(self.max_epochs, self.patience, self.batch_size, self.learning_rate)

    def _read(self, X: SequencesLike, *, reset: bool) -> list[NDArray[Any]]:
        if reset:
            self.features_ = self._features_of(X) if holds_files(X) else None
        if holds_files(X):
            if self.features_ is None:
                raise InputError("X holds names of files, but the classifier was fitted on arrays of frames")
            X = _features(X, self.features_)
        elif self.features_ is not None:
            raise InputError("X holds arrays of frames, but the classifier was fitted on names of files")
        return read_sequences(self, X, reset=reset)

    def _features_of(self, files: Sequence[str | os.PathLike[str]]) -> Features:
        rate = self.sample_rate
        if rate is None:
            rate = min(HIGHEST_DEFAULT_RATE, *(Segment(os.fspath(file)).info().sample_rate for file in files))
        try:
            return feature_config_of(self.features, rate)
        except ValidationError as error:
            raise InputError(
                Argument("features", self.features), " ", Argument("sample_rate", rate), f": {error.errors()[0]['msg']}"
            ) from None

    def _normalised(self, sequences: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        if self.normaliser_ is None:
            return [x.astype(np.float32) for x in sequences]
        return self.normaliser_.transform(sequences)

    def _model_config(self) -> SequenceClassifierConfig:
        num_classes = len(self.classes_)
        if self.features_ is not None:
            return model_on(self.features_, None, self.front_end, self.setting, num_classes)
        return preset(self.front_end, self.setting, in_features=self._frame_width, num_classes=num_classes)

    def _seeds(self) -> list[int]:
        """The seed of each network; that of the first is ``random_state``."""
        state = self.random_state
        if isinstance(state, int | np.integer):
            first = int(state)
        else:
            first = int(check_random_state(state).randint(2**31 - 1))
        others = np.random.SeedSequence(first).generate_state(self.n_estimators - 1).tolist()
        return [first, *others]

    def _train(
        self,
        config: SequenceClassifierConfig,
        examples: Examples,
        groups: Sequence[object] | None,
        seed: int,
        placement: Placement,
    ) -> TrainingState:
        rows = hold_out(examples.labels, groups, self.validation_fraction, seed)
        training_set, validation_set = map(examples.take, rows)
        learner = Learner(config, self._training, seed=seed, device=placement.device, index=placement.index)
        state = TrainingState()
        train(
            learner,
            training_set,
            validation_set,
            state,
            lambda: None,
            config=self._training,
            seed=seed,
            balanced=self.balance,
        )
        return state

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags


def _features(files: Sequence[str | os.PathLike[str]], config: Features) -> list[NDArray[np.float32]]:
    """The features of audio files, all of which are checked first."""
    segments = [Segment(os.fspath(file)) for file in files]
    for segment in segments:
        # "narrow-band" is accepted only so that its sentence does not advise to accept it, which is not possible here.
        for severity, kind, sentence in faults_of(segment, config, accept=("narrow-band",)):
            if severity == "error" or kind == "narrow-band":
                raise InputError(sentence)
    return [extract_features(segment, config) for segment in segments]
