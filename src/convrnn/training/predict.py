"""Predictions for recordings, with errors and warnings for recordings that cannot be used or are doubtful."""

import contextlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convrnn.arguments import check_number
from convrnn.corpora.recording import Fault, Recording, listen_to, look_at
from convrnn.errors import Argument, InputError
from convrnn.features.bandwidth import RATES, resampled_from
from convrnn.features.base import AudioFeatures, Features
from convrnn.features.extract import Segment, Utterance, extract_features
from convrnn.features.frames import Frames, FramesConfig
from convrnn.features.normalise import NormalisePolicy, Normaliser
from convrnn.features.signal import Signal
from convrnn.features.store import FeatureStore, Progress
from convrnn.models.bundle import Bundle
from convrnn.processes import MOST_JOBS, Event, WorkFailedError, run_in_processes

ACCEPTABLE = ("narrow-band", "truncated")
"""Kinds of errors that a user may accept, because the recording can still be predicted."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction for one recording.

    Attributes:
        segment: The recording.
        log_probabilities: float32 ``[classes]``, in the order of the model's classes; None if there is an error.
        faults: Everything that is wrong with the recording, each as (severity, kind, sentence).

    Example:
        >>> silent = ("warning", "silence", "a.wav is digital silence: all 8000 samples are equal")
        >>> found = Prediction(Segment("a.wav"), np.log(np.array([0.5, 0.5], np.float32)), (silent,))
        >>> found.error, found.warnings
        (None, ('a.wav is digital silence: all 8000 samples are equal',))
    """

    segment: Utterance
    log_probabilities: NDArray[np.float32] | None
    faults: tuple[Fault, ...] = ()

    @property
    def error(self) -> str | None:
        """Why there are no probabilities, in a sentence; None if there are."""
        return _error(self.faults)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the probabilities are doubtful, a sentence for each reason."""
        return tuple(sentence for severity, _, sentence in self.faults if severity == "warning")


def predict(
    bundle: Bundle,
    segments: Sequence[Utterance],
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
    """Predicts recordings straight from their files, or from memory.

    Every recording is checked first, as by :func:`~convrnn.corpora.check.check_corpus`. A bad recording does not stop
    the others; its result says what is wrong. If features are normalised per speaker, bad recordings are left out of
    the speaker's statistics, so that they do not change the speaker's other results.

    ============ ======== =======================================================================================
    kind         severity meaning
    ============ ======== =======================================================================================
    missing-file error    no such file
    unreadable   error    not audio or not an array of frames, cut off, holds NaN or infinite values, segment outside
                          the file
    foreign-…    error    an audio format that has to be converted first
    truncated    error    the file ends before its header says so; may be accepted
    zero-length  error    no samples or frames
    width        error    an array with another number of features per frame than the model takes
    too-short    error    less than one frame
    narrow-band  error    sampled at a lower rate than the model's features need; may be accepted
    silence      warning  all samples are equal
    constant     warning  all values of an array of frames are equal
    clipping     warning  three neighbouring samples, or 0.1 % of all, are at full scale
    stereo       warning  several channels; their mean is used
    resampled    warning  almost nothing above half of a lower rate, although the model's features reach higher
    unusable     error    its features cannot be computed
    ============ ======== =======================================================================================

    Args:
        bundle: The trained model.
        segments: The recordings, or parts of them.
        speakers: The speaker of each recording. Required if features are normalised per speaker; results are then best
            if all recordings of a speaker are predicted together.
        normalise: A normalisation policy instead of the model's own.
        accept: Kinds from :data:`ACCEPTABLE` to treat as warnings.
        fail_fast: Stop at the first bad recording.
        batch_size: Utterances per batch.
        jobs: Number of processes that extract features.
        on_listened: Called after each recording is checked, with the number done and the total.
        on_extracted: Likewise, as features are extracted.

    Returns:
        One result for each segment, in their order.

    Raises:
        InputError: Policy "speaker" without speakers, policy "corpus" with a model that has no statistics, a kind that
            cannot be accepted, or, with ``fail_fast``, the first bad recording.
    """
    found = standardise(
        bundle,
        segments,
        speakers=speakers,
        normalise=normalise,
        accept=accept,
        fail_fast=fail_fast,
        jobs=jobs,
        on_listened=on_listened,
        on_extracted=on_extracted,
    )
    results = dict(
        zip(found.features, bundle.log_probabilities([*found.features.values()], batch_size=batch_size), strict=True)
    )
    return [Prediction(segment, results.get(row), found.faults[row]) for row, segment in enumerate(segments)]


@dataclass(frozen=True, eq=False)
class Standardised:
    """The input of a model.

    Attributes:
        faults: What is wrong with each recording.
        features: Standardised features ``[frames, features]`` of the recordings without an error, by position.
    """

    faults: list[tuple[Fault, ...]]
    features: dict[int, NDArray[np.float32]]


def standardise(
    bundle: Bundle,
    segments: Sequence[Utterance],
    *,
    speakers: Sequence[str] | None = None,
    normalise: NormalisePolicy | None = None,
    accept: Collection[str] = (),
    fail_fast: bool = False,
    jobs: int = 1,
    on_listened: Progress | None = None,
    on_extracted: Progress | None = None,
) -> Standardised:
    """Checks recordings, and computes the features that a model gets; arguments and errors as for :func:`predict`."""
    if isinstance(accept, str):
        raise InputError(Argument("accept"), f": a list of kinds is expected, not {accept!r}")
    for kind in accept:
        if kind not in ACCEPTABLE:
            raise InputError(
                Argument("accept", (kind,)), f": cannot be accepted; kinds that can: {', '.join(ACCEPTABLE)}"
            )
    check_number("jobs", jobs, 1, MOST_JOBS)
    speakers = None if speakers is None else checked_speakers(speakers, len(segments))
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
    return Standardised(faults, dict(zip(features, standardised, strict=True)))


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
    """Log-probabilities of recordings that are known to be good; :func:`predict` also checks them.

    Args:
        bundle: The trained model.
        segments: The recordings, or parts of them.
        speakers: As for :func:`predict`.
        normalise: A normalisation policy instead of the model's own.
        batch_size: Utterances per batch.
        store: Cache from which features are read and to which new ones are added; by default they are computed.
        jobs: Number of processes that extract features into the store.
        on_progress: Called as features are extracted into the store, with the number done and the total.

    Returns:
        float32 ``[recordings, classes]``, classes in the order of ``bundle.config.classes``.

    Raises:
        InputError: A recording cannot be used, policy "speaker" without speakers, or policy "corpus" with a model that
            has no statistics.
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
            Argument("normalise", "speaker"),
            " needs the speaker of every recording; give the speakers, or choose 'utterance' or 'corpus'",
        )
    return normaliser


def checked_speakers(speakers: Sequence[object], count: int) -> list[str]:
    """The names of the speakers of so many recordings.

    Raises:
        InputError: They are too few or too many, or one is neither text nor a whole number.

    Example:
        >>> checked_speakers(["anna", 7], 2)
        ['anna', '7']
    """
    if isinstance(speakers, str) or not hasattr(speakers, "__len__"):
        raise InputError(Argument("speakers"), f": a list of names is expected, not {speakers!r}")
    if len(speakers) != count:
        raise InputError(Argument("speakers"), f": has {len(speakers)} names for {count} recordings")
    for number, name in enumerate(speakers):
        is_number = isinstance(name, int | np.integer) and not isinstance(name, bool)
        if not is_number and not (isinstance(name, str) and name.strip()):
            raise InputError(Argument("speakers"), f": recording {number}: a name is expected, not {name!r}")
    return [str(name) for name in speakers]


def doubts_of_recordings(faults: Iterable[Sequence[Fault]]) -> list[str]:
    """Why the results of recordings without an error are doubtful, a sentence for each kind of warning."""
    kinds: dict[str, list[str]] = {}
    for own in faults:
        if _error(own) is None:
            for _, kind, sentence in own:
                kinds.setdefault(kind, []).append(sentence)
    told = []
    for kind, sentences in kinds.items():
        more = f" (and {len(sentences) - 1} more)" if len(sentences) > 1 else ""
        told.append(f"{kind}: {sentences[0]}{more}")
    return told


def doubts_of_speakers(speakers: Sequence[str], faults: Sequence[Sequence[Fault]]) -> list[str]:
    """Why features standardised per speaker are doubtful: over one recording, or fewer than were given."""
    good = Counter(name for name, own in zip(speakers, faults, strict=True) if _error(own) is None)
    told = []
    if alone := [name for name, count in good.items() if count == 1]:
        many = f"{len(alone)} speakers have" if len(alone) > 1 else f"speaker {alone[0]} has"
        told.append(f"{many} only one recording to standardise features over; give all recordings of a speaker at once")
    given = Counter(speakers)
    if less := [name for name, count in good.items() if count < given[name]]:
        missing = sum(given[name] - good[name] for name in less)
        whose = f"speaker {less[0]}" if len(less) == 1 else f"{len(less)} speakers"
        told.append(f"features of {whose} are standardised without {missing} bad recording{'s' if missing > 1 else ''}")
    return told


def _error(faults: Sequence[Fault]) -> str | None:
    return next((sentence for severity, _, sentence in faults if severity == "error"), None)


def _refuse(faults: Sequence[Fault]) -> None:
    if (error := _error(faults)) is not None:
        raise InputError(error)


def faults_of(segment: Utterance, config: Features, accept: Collection[str] = ()) -> tuple[Fault, ...]:
    """Everything that is wrong with a recording, in general and for these features; :func:`predict` lists the kinds.

    Args:
        segment: The recording.
        config: The model's features.
        accept: Kinds of errors to treat as warnings.

    Returns:
        Severity, kind and sentence of each fault.

    Example:
        >>> from convrnn.features.logmel import LogMelConfig
        >>> faults_of(Segment("nowhere.wav"), LogMelConfig(sample_rate=16000))
        (('error', 'missing-file', 'nowhere.wav: audio file does not exist'),)
    """
    if isinstance(config, FramesConfig):
        return _faults_of_frames(segment, config)
    assert isinstance(config, AudioFeatures)
    if isinstance(segment, Frames):
        return (("error", "unreadable", f"{segment}: is an array of frames, but the model takes audio"),)
    recording = listen_to(segment, str(segment))
    faults = [*recording.faults, *_narrow_band(recording, config, accepted="narrow-band" in accept)]
    faults = [("warning" if kind in accept else severity, kind, sentence) for severity, kind, sentence in faults]
    if _error(faults) is None and recording.sample_rate is not None:
        faults += _resampled(segment, recording, recording.sample_rate, config)
    return tuple(faults)


def _faults_of_frames(segment: Utterance, config: FramesConfig) -> tuple[Fault, ...]:
    if not isinstance(segment, Segment):
        # What is wrong with it is found when its frames are taken.
        return ()
    recording = look_at(segment.file)
    found = recording.num_features
    if found in (None, config.width):
        return recording.faults
    return (*recording.faults, ("error", "width", f"{segment.file}: {config.other_width(found)}"))


def _narrow_band(recording: Recording, config: AudioFeatures, *, accepted: bool) -> list[Fault]:
    rate = recording.sample_rate
    if rate is None or rate / 2 >= config.highest_hz:
        return []
    sentence = (
        f"{recording.file}: is sampled at {rate} Hz and has nothing above {rate / 2:g} Hz, but the model uses up to "
        f"{config.highest_hz:g} Hz"
    )
    if not accepted:
        sentence += f"; record at {2 * config.highest_hz:g} Hz or more, or accept narrow-band"
    return [("error", "narrow-band", sentence)]


def _resampled(segment: Segment | Signal, recording: Recording, rate: int, config: AudioFeatures) -> list[Fault]:
    if config.highest_hz <= min(RATES) / 2:
        return []
    lower = recording.resampled_from
    if recording.seconds is None:
        # A truncated recording that was accepted has not been read yet.
        try:
            lower = resampled_from(segment.blocks(), rate)
        except InputError as error:
            return [("error", "unreadable", str(error))]
    if lower is None or lower / 2 >= config.highest_hz:
        return []
    sentence = (
        f"{segment} has next to nothing above {lower / 2:g} Hz, as if resampled from {lower} to {rate} Hz, but the "
        f"model uses up to {config.highest_hz:g} Hz"
    )
    return [("warning", "resampled", sentence)]


def _extract(
    segments: Sequence[Utterance], config: Features, jobs: int, on_progress: Progress | None
) -> list[NDArray[np.float32] | InputError]:
    """The features of each recording, or why there are none."""
    found: dict[int, NDArray[np.float32] | InputError] = {}

    def finish(index: int, features: NDArray[np.float32] | InputError) -> None:
        found[index] = features
        if on_progress is not None:
            on_progress(len(found), len(segments))

    def on_event(event: Event) -> None:
        if event.kind == "done":
            finish(event.index, event.value)

    if min(jobs, len(segments)) > 1:
        # If a worker is killed, perhaps because memory ran out, this process computes the rest.
        with contextlib.suppress(WorkFailedError):
            run_in_processes(_features_or_error, config, segments, jobs=jobs, on_event=on_event)
    for index, segment in enumerate(segments):
        if index not in found:
            finish(index, _features_or_error(config, segment))
    return [found[index] for index in range(len(segments))]


def _features_or_error(
    config: Features, segment: Utterance, _report: object = None
) -> NDArray[np.float32] | InputError:
    try:
        return extract_features(segment, config)
    except InputError as error:
        return error
