"""What a trained model says of recordings, and what is wrong with those that it cannot, or hardly, be asked about."""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.recording import Fault, Recording, listen_to
from convrnn.errors import InputError
from convrnn.features.bandwidth import RATES, resampled_from
from convrnn.features.config import FeatureConfig, LogMelConfig
from convrnn.features.extract import Segment, extract_features
from convrnn.features.normalise import NormalisePolicy, Normaliser
from convrnn.features.store import FeatureStore, Progress
from convrnn.models.bundle import Bundle

ACCEPTABLE = ("narrow-band", "truncated")
"""Kinds of errors that somebody may let through, because there is a prediction in spite of them."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one recording.

    Attributes:
        segment: The recording.
        log_probabilities: float32 ``[classes]``, in the order of the bundle's classes; None where there is an error.
        faults: Severity, kind and sentence of what is wrong with the recording.

    Example:
        >>> silent = ("warning", "silence", "a.wav is digital silence: all 8000 samples are equal")
        >>> found = Prediction(Segment("a.wav"), np.log(np.array([0.5, 0.5], np.float32)), (silent,))
        >>> found.error, found.warnings
        (None, ('a.wav is digital silence: all 8000 samples are equal',))
    """

    segment: Segment
    log_probabilities: NDArray[np.float32] | None
    faults: tuple[Fault, ...] = ()

    @property
    def error(self) -> str | None:
        """Why there are no probabilities, in a sentence; None where there are."""
        return _error(self.faults)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the probabilities doubtful, a sentence each."""
        return tuple(sentence for severity, _, sentence in self.faults if severity == "warning")


def predict(
    bundle: Bundle,
    segments: Sequence[Segment],
    *,
    speakers: Sequence[str] | None = None,
    normalise: NormalisePolicy | None = None,
    accept: Collection[str] = (),
    fail_fast: bool = False,
    batch_size: int = 32,
    jobs: int = 1,
    on_listened: Progress | None = None,
    on_extracted: Progress | None = None,
) -> list[Prediction]:
    """What a model says of recordings, straight from their files.

    Every recording is listened to first, as :func:`~convrnn.corpora.check.check_corpus` does. A bad one does not stop
    the others: its own result tells what is wrong. Where features are normalised per speaker, it is left out of its
    speaker's statistics, and the results of the speaker's other recordings are those without it.

    ============ ======== =======================================================================================
    kind         severity meaning
    ============ ======== =======================================================================================
    missing-file error    no such file
    unreadable   error    not audio, broken off, holds NaN or infinite samples, segment outside the file
    foreign-…    error    audio of a format that has to be converted first
    truncated    error    the file ends before its header says so; may be accepted
    zero-length  error    no samples
    too-short    error    less than one frame
    narrow-band  error    sampled at a lower rate than the model's features need; may be accepted
    silence      warning  all samples are equal
    clipping     warning  three neighbouring samples, or 0.1 % of all, at full scale
    stereo       warning  several channels, whose mean is taken
    resampled    warning  next to nothing above half a lower rate, and the model's features reach beyond it
    unusable     error    features cannot be computed of it
    ============ ======== =======================================================================================

    Args:
        bundle: The trained model.
        segments: The recordings, or parts of them.
        speakers: The speaker of each; needed where features are normalised per speaker, and then best given for all of
            a speaker's recordings at once.
        normalise: Another normalisation policy than the bundle's.
        accept: Kinds among :data:`ACCEPTABLE` that are to be warnings.
        fail_fast: Stop at the first bad recording.
        batch_size: Utterances per batch.
        jobs: Processes that extract features.
        on_listened: Called as recordings are listened to, with how many are done and how many there are.
        on_extracted: Called likewise as features are extracted.

    Returns:
        One result for each segment, in their order.

    Raises:
        InputError: For policy "speaker" without speakers, policy "corpus" with a bundle that has no statistics, a kind
            that cannot be accepted, and with ``fail_fast`` for the first bad recording, in its words.
    """
    for kind in accept:
        if kind not in ACCEPTABLE:
            raise InputError(f"--accept {kind}: cannot be let through; kinds that can: {', '.join(ACCEPTABLE)}")
    normaliser = _normaliser(bundle, normalise, speakers)
    config = bundle.config.features
    faults = []
    for number, segment in enumerate(segments, start=1):
        faults.append(faults_of(segment, config, accept))
        if fail_fast:
            _refuse(faults[-1])
        if on_listened is not None:
            on_listened(number, len(segments))
    sound = [row for row, own in enumerate(faults) if _error(own) is None]
    features: dict[int, NDArray[np.float32]] = {}
    for row, found in zip(sound, _extract([segments[row] for row in sound], config, jobs, on_extracted), strict=True):
        if isinstance(found, InputError):
            faults[row] = (*faults[row], ("error", "unusable", str(found)))
            if fail_fast:
                _refuse(faults[row])
        else:
            features[row] = found
    own_speakers = None if speakers is None else [speakers[row] for row in features]
    standardised = normaliser.transform(list(features.values()), own_speakers)
    results = dict(zip(features, bundle.log_probabilities(standardised, batch_size=batch_size), strict=True))
    return [Prediction(segment, results.get(row), faults[row]) for row, segment in enumerate(segments)]


def log_probabilities(
    bundle: Bundle,
    segments: Sequence[Segment],
    *,
    speakers: Sequence[str] | None = None,
    normalise: NormalisePolicy | None = None,
    batch_size: int = 32,
    store: FeatureStore | None = None,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Log-probabilities of recordings that are known to be sound; :func:`predict` also looks whether they are.

    Args:
        bundle: The trained model.
        segments: The recordings, or parts of them.
        speakers: As for :func:`predict`.
        normalise: Another normalisation policy than the bundle's.
        batch_size: Utterances per batch.
        store: Where features are looked up and kept; without one they are computed.
        jobs: Processes that extract features into the store.
        on_progress: Called as features are extracted into the store, with how many are done and how many there are.

    Returns:
        float32 ``[recordings, classes]``, classes in the order of ``bundle.config.classes``.

    Raises:
        InputError: For a recording that cannot be used, for policy "speaker" without speakers, and for policy "corpus"
            with a bundle that has no statistics.
    """
    normaliser = _normaliser(bundle, normalise, speakers)
    if store is None:
        features = [extract_features(segment, bundle.config.features) for segment in segments]
    else:
        store.extract(segments, jobs=jobs, on_progress=on_progress)
        features = [store.load(segment) for segment in segments]
    return bundle.log_probabilities(normaliser.transform(features, speakers), batch_size=batch_size)


def _normaliser(bundle: Bundle, policy: NormalisePolicy | None, speakers: Sequence[str] | None) -> Normaliser:
    normaliser = bundle.normaliser(policy)
    if normaliser.policy == "speaker" and speakers is None:
        raise InputError(
            "normalise 'speaker' needs the speaker of every recording; give the speakers, "
            "or choose 'utterance' or 'corpus'"
        )
    return normaliser


def _error(faults: Sequence[Fault]) -> str | None:
    return next((sentence for severity, _, sentence in faults if severity == "error"), None)


def _refuse(faults: Sequence[Fault]) -> None:
    if (error := _error(faults)) is not None:
        raise InputError(error)


def faults_of(segment: Segment, config: FeatureConfig, accept: Collection[str] = ()) -> tuple[Fault, ...]:
    """What is wrong with a recording by itself, and for features of that kind; :func:`predict` lists what can be.

    Args:
        segment: The recording.
        config: The model's features.
        accept: Kinds of errors that are to be warnings.

    Returns:
        Severity, kind and sentence of each fault.

    Example:
        >>> faults_of(Segment("nowhere.wav"), LogMelConfig(sample_rate=16000))
        (('error', 'missing-file', 'nowhere.wav: audio file does not exist'),)
    """
    recording = listen_to(segment, str(segment))
    faults = [*recording.faults, *_narrow_band(recording, config, accepted="narrow-band" in accept)]
    faults = [("warning" if kind in accept else severity, kind, sentence) for severity, kind, sentence in faults]
    if _error(faults) is None and recording.sample_rate is not None:
        faults += _resampled(segment, recording.sample_rate, config)
    return tuple(faults)


def _narrow_band(recording: Recording, config: FeatureConfig, *, accepted: bool) -> list[Fault]:
    rate = recording.sample_rate
    if rate is None or rate / 2 >= highest_hz(config):
        return []
    sentence = (
        f"{recording.file}: is sampled at {rate} Hz and has nothing above {rate / 2:g} Hz, but the model looks up to "
        f"{highest_hz(config):g} Hz"
    )
    if not accepted:
        sentence += (
            f"; record at {2 * highest_hz(config):g} Hz or more, or go on in spite of it with --accept narrow-band"
        )
    return [("error", "narrow-band", sentence)]


def _resampled(segment: Segment, rate: int, config: FeatureConfig) -> list[Fault]:
    if highest_hz(config) <= min(RATES) / 2:
        return []
    try:
        lower = resampled_from(segment.blocks(), rate)
    except InputError as error:
        return [("error", "unreadable", str(error))]
    if lower is None or lower / 2 >= highest_hz(config):
        return []
    sentence = (
        f"{segment} has next to nothing above {lower / 2:g} Hz, as if resampled from {lower} to {rate} Hz, but the "
        f"model looks up to {highest_hz(config):g} Hz"
    )
    return [("warning", "resampled", sentence)]


def highest_hz(config: FeatureConfig) -> float:
    """The highest frequency that features of a kind tell of, in Hz.

    Example:
        >>> highest_hz(LogMelConfig(sample_rate=16000))
        8000.0
    """
    return config.upper_hz if isinstance(config, LogMelConfig) else config.sample_rate / 2


def _extract(
    segments: Sequence[Segment], config: FeatureConfig, jobs: int, on_progress: Progress | None
) -> list[NDArray[np.float32] | InputError]:
    """The features of each recording, or why there are none."""
    with TemporaryDirectory() as folder:
        store = FeatureStore(folder, config)
        # What this says of the first recording that fails is found below for each.
        with contextlib.suppress(InputError):
            store.extract(segments, jobs=jobs, on_progress=on_progress)
        return [_load(store, segment) for segment in segments]


def _load(store: FeatureStore, segment: Segment) -> NDArray[np.float32] | InputError:
    try:
        return store.load(segment)
    except InputError:
        try:
            extract_features(segment, store.config)
        except InputError as error:
            return error
        # Not the recording is to blame, but the place where features are kept.
        raise
