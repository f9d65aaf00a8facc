"""A trained model as an object: predictions and features of recordings, and what is known of its training."""

import functools
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.base import AudioFeatures
from convrnn.features.normalise import NormalisePolicy
from convrnn.files import read_regular
from convrnn.json_files import read_json, validate
from convrnn.models.bundle import Bundle
from convrnn.models.card import CARD, TestResult, model_card, without_folder
from convrnn.training.placement import Placement
from convrnn.training.run_directory import BEST, PARTIAL, RESULT, SPEC, RunFiles

if TYPE_CHECKING:
    from convrnn.corpora.labelled import LabelledCorpus
    from convrnn.corpora.splits import Split
    from convrnn.training.predict import Prediction
    from convrnn.training.recordings import Recordings
    from convrnn.training.spec import RunSpec
    from convrnn.training.windows import Windows

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MOST_CARD_BYTES = 2**22
_HUB_FILES = ("config.json", "model.safetensors")


class SavedModel:
    """A trained model: what :func:`convrnn.load` returns.

    Audio of any sample rate and number of channels is resampled to the model's rate and mixed down. A recording that
    cannot be used is refused, as by ``convrnn predict``.

    A model that standardises features per speaker needs the speaker of every recording, and all recordings of a speaker
    in one call; a single recording given to the model itself counts as all of its speaker.

    Attributes:
        bundle: features, normalisation and network.
        path: the folder that it was read from.

    Example:
        .. code-block:: python

            model = convrnn.load("results/runs/3f2a9c0d11e85b77")
            model.classes[model(signal, sampling_rate).argmax()]
            model.predict(["one.wav", "two.flac"], speakers=["anna", "anna"])
    """

    def __init__(self, bundle: Bundle, path: Path) -> None:
        self.bundle = bundle
        self.path = path

    def __repr__(self) -> str:
        config = self.bundle.config
        return (
            f"SavedModel({config.name}, {config.setting}, {config.features.description}; {config.task}: "
            f"{', '.join(config.classes)})"
        )

    @classmethod
    def from_pretrained(cls, name: Path | str, *, revision: str | None = None) -> "SavedModel":
        """Reads a saved model.

        Args:
            name: its folder, or its run directory; or the id of a model on the Hugging Face Hub, such as
                ``"user/model"``, which needs the extra ``hub``.
            revision: branch, tag or commit on the Hub.

        Raises:
            InputError: if there is no saved model, if it is damaged, of another version or not as its finished run
                wrote it, or if it cannot be downloaded.
        """
        if not isinstance(name, str | Path):
            raise InputError(f"a folder or the id of a model is expected, not {type(name).__name__}")
        path = Path(name)
        if not path.exists() and isinstance(name, str) and _HUB_ID.fullmatch(name):
            path = _download(name, revision)
        if not (path / "config.json").exists() and (path / BEST / "config.json").exists():
            path = path / BEST
        run = path.absolute().parent
        # The spec says which speakers the model was trained on, and the result has its digest.
        is_finished = path.absolute().name == BEST and not run.name.endswith(PARTIAL)
        if is_finished and any((run / file).exists() for file in (RESULT, SPEC)):
            RunFiles(run).check(BEST, SPEC)
        return cls(Bundle.load(path), path)

    @functools.cached_property
    def spec(self) -> "RunSpec | None":
        """What was trained, and on which speakers; None if the model is not in its run directory.

        Raises:
            InputError: if the run's spec is damaged.
        """
        from convrnn.training.spec import RunSpec

        beside = self.path.absolute().parent / SPEC
        if not beside.exists():
            return None
        try:
            return validate(RunSpec, read_json(beside), beside, "the run's spec")
        except InputError:
            if self.path.absolute().name == BEST:
                # Only the spec says which speakers the model was trained on.
                raise
            # Elsewhere it may be an unrelated file of the same name.
            return None

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.bundle.config.classes

    @property
    def sampling_rate(self) -> int | None:
        """The rate in Hz to which recordings are resampled; None for a model of frames."""
        features = self.bundle.config.features
        return features.sample_rate if isinstance(features, AudioFeatures) else None

    @property
    def _takes_frames(self) -> bool:
        return not isinstance(self.bundle.config.features, AudioFeatures)

    def to(self, device: str) -> "SavedModel":
        """Moves the network to a device; returns the model itself, as in PyTorch. A loaded model is on the CPU.

        Args:
            device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"mps"``.

        Raises:
            InputError: for a device that is not there.
        """
        self.bundle.model.to(str(Placement.of(device)))
        return self

    def __call__(
        self, signal: NDArray[Any], sampling_rate: float | None = None, *, accept: Sequence[str] = ()
    ) -> NDArray[np.float32]:
        """Log-probabilities of one recording, float32 ``[classes]``, in the order of :attr:`classes`.

        Args:
            signal: ``[samples]`` or ``[channels, samples]``. Floating-point samples have full scale 1, int16, int32 and
                uint8 that of their type. For a model of frames ``[frames, features]``.
            sampling_rate: Hz, required for audio.
            accept: see :func:`~convrnn.training.predict.predict`.

        Raises:
            InputError: for a signal that cannot be used, such as one of less than one frame, or sampled at a lower rate
                than the model needs.
        """
        from convrnn.training.predict import predict
        from convrnn.training.recordings import array_of, recordings_of

        array = array_of(signal)
        if array is None:
            raise InputError(f"an array is expected as the signal, not {type(signal).__name__}")
        utterance, _ = recordings_of([array], sampling_rate, of_frames=self._takes_frames)
        [found] = predict(self.bundle, utterance, speakers=["speaker"], accept=accept, fail_fast=True)
        assert found.log_probabilities is not None
        return found.log_probabilities

    def predictions(
        self,
        recordings: "Recordings",
        *,
        sampling_rate: float | None = None,
        speakers: Sequence[str] | None = None,
        normalise: NormalisePolicy | None = None,
        accept: Sequence[str] = (),
        jobs: int = 1,
    ) -> "list[Prediction]":
        """The prediction for each recording, with what is wrong with it; a bad recording does not stop the others.

        Args:
            recordings: see :func:`~convrnn.training.recordings.recordings_of`: paths, arrays or a DataFrame.
            sampling_rate: Hz of arrays.
            speakers: the speaker of each recording; by default those of the DataFrame's column ``speaker``.
            normalise: a normalisation policy instead of the model's own; a warning says so.
            accept: see :func:`~convrnn.training.predict.predict`.
            jobs: number of processes that extract features.

        Raises:
            InputError: for arguments that cannot be used.
        """
        self._warn_of_policy(normalise)
        return self._predictions(recordings, sampling_rate, speakers, normalise, accept, jobs, fail_fast=False)

    def predict(
        self,
        recordings: "Recordings",
        *,
        sampling_rate: float | None = None,
        speakers: Sequence[str] | None = None,
        normalise: NormalisePolicy | None = None,
        accept: Sequence[str] = (),
        jobs: int = 1,
    ) -> NDArray[Any]:
        """The class of each recording, ``[recordings]``; arguments as for :meth:`predictions`.

        Raises:
            InputError: as :meth:`predictions`, and for the first bad recording.
        """
        self._warn_of_policy(normalise)
        found = self._predictions(recordings, sampling_rate, speakers, normalise, accept, jobs, fail_fast=True)
        _warn_of_doubts(found)
        classes: NDArray[Any] = np.array(self.classes)[_stacked(found).argmax(axis=1)]
        return classes

    def predict_proba(
        self,
        recordings: "Recordings",
        *,
        sampling_rate: float | None = None,
        speakers: Sequence[str] | None = None,
        normalise: NormalisePolicy | None = None,
        accept: Sequence[str] = (),
        jobs: int = 1,
    ) -> NDArray[np.float32]:
        """The probability of each class, float32 ``[recordings, classes]``; arguments as for :meth:`predictions`.

        Raises:
            InputError: as :meth:`predict`.
        """
        self._warn_of_policy(normalise)
        found = self._predictions(recordings, sampling_rate, speakers, normalise, accept, jobs, fail_fast=True)
        _warn_of_doubts(found)
        return np.exp(_stacked(found))

    def extract_features(
        self,
        recordings: "Recordings",
        *,
        sampling_rate: float | None = None,
        speakers: Sequence[str] | None = None,
        normalise: NormalisePolicy | None = None,
        accept: Sequence[str] = (),
        jobs: int = 1,
    ) -> "list[Windows]":
        """The front end's features of each recording, with the time of each window; arguments as for :meth:`predict`.

        :func:`~convrnn.training.windows.windows_table` makes one DataFrame of them.

        Raises:
            InputError: as :meth:`predict`.
        """
        from convrnn.training.recordings import recordings_of
        from convrnn.training.windows import extract_windows

        self._warn_of_policy(normalise)
        utterances, named = recordings_of(recordings, sampling_rate, of_frames=self._takes_frames)
        found = extract_windows(
            self.bundle,
            utterances,
            speakers=named if speakers is None else speakers,
            normalise=normalise,
            accept=accept,
            jobs=jobs,
        )
        _warn_of_doubts(found)
        return found

    def save_pretrained(self, folder: Path | str) -> None:
        """Writes the model to a folder, which :func:`convrnn.load` reads, with a model card (``README.md``).

        A model that was loaded with a card keeps it.

        An existing folder of a saved model is replaced. The folder can be uploaded to the Hugging Face Hub as it is.

        Raises:
            InputError: if there is something else in the folder.
            OSError: if it cannot be written.
        """
        folder = Path(folder)
        known = {*_HUB_FILES, CARD}
        if folder.exists() and (not folder.is_dir() or {entry.name for entry in folder.iterdir()} - known):
            raise InputError(f"{folder}: holds something other than a saved model; give another folder")
        # The folder of the corpus means nothing to others.
        config = self.bundle.config.model_copy(update={"corpus": without_folder(self.bundle.config.corpus)})
        bundle = Bundle(config, self.bundle.model)
        tested, card = self._tested(), self.path / CARD
        if tested is None and card.is_file():
            text = read_regular(card, _MOST_CARD_BYTES).decode("utf-8", "replace")
        else:
            text = model_card(bundle, tested)
        bundle.save(folder, {CARD: text})

    def split_of(self, corpus: "LabelledCorpus") -> "Split | None":
        """The split that the model was trained on, if it is known and this is the corpus it was trained on."""
        if self.spec is None or self.spec.task != corpus.task:
            return None
        if not set(self.spec.split.train) & set(corpus.speakers):
            return None
        try:
            same = corpus.fingerprint == self.spec.fingerprint
        except InputError:
            return None
        return self.spec.split if same else None

    def warning_of_policy(self, normalise: NormalisePolicy | None) -> str:
        """A warning if the policy is not that of the training, else ""."""
        trained = self.bundle.config.normalise
        if normalise in (None, trained) or normalise not in get_args(NormalisePolicy):
            return ""
        return (
            f"the model was trained with features standardised per {trained}, not per {normalise}: accuracy can drop "
            f"to chance; train one with features standardised per {normalise} instead"
        )

    def _tested(self) -> TestResult | None:
        """The result of the test at the end of the training, if the model is in its finished run."""
        run = self.path.absolute().parent
        if self.spec is None or self.path.absolute().name != BEST or not (run / RESULT).exists():
            return None
        from convrnn.training.result import RunResult

        result = RunResult.load(run)
        confusion = result.confusion
        return TestResult(
            corpus=self.spec.corpus,
            split=self.spec.split.name,
            speakers=len(self.spec.split.test),
            utterances=sum(map(sum, confusion)),
            ua_recall=result.ua_recall,
            accuracy=result.accuracy,
            recalls=result.recalls,
        )

    def _warn_of_policy(self, normalise: NormalisePolicy | None) -> None:
        if sentence := self.warning_of_policy(normalise):
            warnings.warn(sentence, stacklevel=3)

    def _predictions(
        self,
        recordings: "Recordings",
        sampling_rate: float | None,
        speakers: Sequence[str] | None,
        normalise: NormalisePolicy | None,
        accept: Sequence[str],
        jobs: int,
        *,
        fail_fast: bool,
    ) -> "list[Prediction]":
        from convrnn.training.predict import predict
        from convrnn.training.recordings import recordings_of

        utterances, named = recordings_of(recordings, sampling_rate, of_frames=self._takes_frames)
        return predict(
            self.bundle,
            utterances,
            speakers=named if speakers is None else speakers,
            normalise=normalise,
            accept=accept,
            fail_fast=fail_fast,
            jobs=jobs,
        )


def load(name: Path | str, *, revision: str | None = None) -> SavedModel:
    """The saved model in a folder, in a run directory, or on the Hugging Face Hub.

    Arguments and errors are those of :meth:`SavedModel.from_pretrained`.
    """
    return SavedModel.from_pretrained(name, revision=revision)


def _warn_of_doubts(found: "Sequence[Prediction] | Sequence[Windows]") -> None:
    from convrnn.training.predict import doubts_of_recordings

    # Several channels are part of the contract here.
    faults = [[fault for fault in one.faults if fault[1] != "stereo"] for one in found]
    for sentence in doubts_of_recordings(faults):
        warnings.warn(sentence, stacklevel=3)


def _stacked(found: "Sequence[Prediction]") -> NDArray[np.float32]:
    return np.stack([one.log_probabilities for one in found if one.log_probabilities is not None])


def _download(name: str, revision: str | None) -> Path:
    """The folder of a model from the Hub, from its cache if it was downloaded before."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise InputError(
            f"{name}: no such folder; to read it from the Hugging Face Hub, run: pip install 'convrnn[hub]'"
        ) from None
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
    except HfHubHTTPError as error:
        raise InputError(
            f"{name}: no such folder, and no such model on the Hugging Face Hub ({_first_line(error)})"
        ) from None
    except (LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"{name}: no such folder, and the Hugging Face Hub cannot be reached ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
