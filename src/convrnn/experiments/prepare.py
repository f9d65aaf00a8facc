"""Prepares a corpus for its models: splits, sample rate and features."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.gate import Provisos
from convrnn.corpora.labelled import HIGHEST_DEFAULT_RATE, LabelledCorpus
from convrnn.corpora.splits import Split, make_splits
from convrnn.errors import Argument, InputError
from convrnn.experiments.arguments import MODELS, check_policy
from convrnn.experiments.grid import check_test_classes
from convrnn.experiments.progress import Progress
from convrnn.experiments.resources import Resources, extraction_jobs, tell_placement
from convrnn.experiments.rows import RowOptions, check_rows, open_rows
from convrnn.features.base import AudioFeatures
from convrnn.features.config import FeatureConfig, feature_config_of
from convrnn.features.normalise import NormalisePolicy
from convrnn.features.registry import DEFAULT_FEATURES
from convrnn.features.store import FeatureStore
from convrnn.models.presets import takes_waveform
from convrnn.training.placement import Placement
from convrnn.training.saved_model import SavedModel, load
from convrnn.training.spec import model_on


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A corpus that is ready for a grid of runs.

    Attributes:
        data: its labelled rows, after the checks.
        split: how they are split, in the user's words.
        splits: the folds.
        provisos: what was done to the rows, and the errors that were accepted.
    """

    data: LabelledCorpus
    split: str
    splits: list[Split]
    provisos: Provisos


def prepare(
    corpus: str | Corpus,
    task: str,
    split: str | None,
    split_seed: int,
    chosen: RowOptions,
    resources: Resources,
    *,
    features: str | None = None,
    sample_rate: int | None = None,
) -> Prepared:
    """Open a corpus, split it and check it.

    Args:
        corpus: a corpus, or its name as :func:`~convrnn.corpora.registry.open_corpus` takes it.
        task: the label column.
        split: see :func:`~convrnn.corpora.splits.make_splits`; None for the corpus's own partitions, or a random split
            if it has none.
        split_seed: seed of the random choices in the split.
        chosen: the user's options for the rows.
        resources: cache, processes and progress.
        features: the user's choice, which arrays of frames do not leave.
        sample_rate: likewise.

    Raises:
        InputError: for a corpus, task or split that cannot be used.
    """
    data, provisos = open_rows(corpus, task, chosen, resources)
    refuse_for_frames(data, features=features, sample_rate=sample_rate)
    split = split or data.default_split
    splits = make_splits(data, split, seed=split_seed)
    check_test_classes(data, splits)
    return Prepared(data, split, splits, check_rows(data, splits, chosen, provisos, resources))


def refuse_for_frames(data: LabelledCorpus, **choices: str | float | None) -> None:
    """Refuse choices about the features of recordings for a corpus of frames; None is ignored.

    Raises:
        InputError: naming the argument.
    """
    for name, value in choices.items():
        if data.holds_frames and value is not None:
            raise InputError(
                Argument(name, value), f": is for recordings; {data.name} names arrays of frames, used as they are"
            )


def check_window(features: str | None, window_ms: float | None) -> None:
    """Check that a window is given only together with features; whether it suits them is for :func:`check_models`.

    Raises:
        InputError: for a window without features.
    """
    if window_ms is not None and features is None:
        raise InputError(
            Argument("window_ms", window_ms),
            ": only for the raw waveform (",
            Argument("features", "waveform"),
            f"); by default features are {DEFAULT_FEATURES}, or the arrays of a corpus of frames",
        )


def ready_features(features: str | None, sample_rate: int | None, progress: Progress) -> AudioFeatures:
    """The config of features of recordings, after checking that they can be computed here.

    Args:
        features: one of :data:`~convrnn.features.registry.FEATURES`; None for the default.
        sample_rate: in Hz; None if it depends on a corpus that is not open yet.
        progress: receives the licence of the software that computes them.

    Raises:
        InputError: for a rate at which the features are not defined, and for features that cannot be computed here.
    """
    rate = HIGHEST_DEFAULT_RATE if sample_rate is None else sample_rate
    name = DEFAULT_FEATURES if features is None else features
    try:
        config = feature_config_of(name, rate)
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise InputError(Argument("features", name), " ", Argument("sample_rate", rate), f": {why}") from None
    make_ready(config, progress)
    return config


def check_models(
    models: Sequence[str] | None, setting: str, features: FeatureConfig, window_ms: float | None
) -> tuple[str, ...]:
    """The models to train, after checking that they can be built on the features.

    Args:
        models: names of front ends; None for those of :data:`~convrnn.experiments.arguments.MODELS` that suit.
        setting: ``"emotion"`` or ``"paralinguistic"``.
        features: their input.
        window_ms: length of the windows on the raw waveform in milliseconds.

    Raises:
        InputError: for a front end that cannot take the waveform, or a window for other features.
    """
    suits = [name for name in MODELS if not features.is_waveform or takes_waveform(name, features.num_features)]
    chosen = tuple(suits if models is None else models)
    for name in chosen:
        model_on(features, window_ms, name, setting, num_classes=2)
    return chosen


def make_ready(features: FeatureConfig, progress: Progress) -> None:
    """Load the software that computes the features, and show its licence once.

    Raises:
        InputError: if it is not installed or cannot be used.
    """
    features.load()
    if features.licence:
        _tell_licence(features.licence, progress)


@functools.lru_cache(maxsize=1)
def _tell_licence(licence: str, progress: Progress) -> None:
    progress.note(licence)


def open_model(name: Path | str, device: str, progress: Progress) -> SavedModel:
    """The saved model, on the device; reports which one that is, unless it is the CPU.

    Args:
        name: what :func:`convrnn.load` takes.
        device: see :meth:`Placement.of <convrnn.training.placement.Placement.of>`.
        progress: receives the report.

    Raises:
        InputError: for a model that cannot be read, or a device that is not there.
    """
    placement = Placement.of(device)
    model = load(name).to(str(placement))
    tell_placement(placement, progress)
    return model


def choose_policy(model: SavedModel, normalise: str | None, progress: Progress) -> NormalisePolicy:
    """The given normalisation policy, or else that of the model's training; warns if they differ.

    Raises:
        InputError: for a policy that does not exist.
    """
    policy = model.bundle.config.normalise if normalise is None else check_policy(normalise)
    if sentence := model.warning_of_policy(policy):
        progress.warning(sentence)
    return policy


def features_for(
    data: LabelledCorpus, features: str | None, sample_rate: int | None, progress: Progress
) -> FeatureConfig:
    """Features at the given sample rate, or by default at that of the corpus; arrays of frames as they are.

    Raises:
        InputError: as :func:`ready_features`, and for a file that is missing or unreadable.
    """
    return data.default_features if data.holds_frames else audio_features(data, features, sample_rate, progress)


def audio_features(
    data: LabelledCorpus, features: str | None, sample_rate: int | None, progress: Progress
) -> AudioFeatures:
    """Features of recordings at the given sample rate, or by default at that of the corpus.

    Raises:
        InputError: as :func:`ready_features`, and for a file that is missing or unreadable.
    """
    return ready_features(features, data.sample_rate if sample_rate is None else sample_rate, progress)


def tell_input(data: LabelledCorpus, features: FeatureConfig, progress: Progress, *, given: bool) -> None:
    """Report which sample rate is used, and why; or how many features per frame there are.

    Args:
        data: the rows.
        features: their features.
        progress: receives the message.
        given: whether the user requested the rate.

    Raises:
        InputError: for a file that is missing or unreadable.
    """
    if not isinstance(features, AudioFeatures):
        progress.note(f"{data.name}: {features.description}")
        return
    rate, lowest = features.sample_rate, data.lowest_rate
    begin = f"{data.name}: sample rate {rate} Hz"
    if rate > lowest:
        progress.warning(
            f"{begin}, as requested; some files have {lowest} Hz and contain nothing above {lowest // 2} Hz"
        )
    elif given:
        progress.note(f"{begin}, as requested")
    elif rate == lowest:
        progress.note(f"{begin}, the lowest of the files")
    else:
        progress.note(f"{begin}, the default maximum; the lowest of the files is {lowest}")


def extract(data: LabelledCorpus, features: FeatureConfig, resources: Resources) -> FeatureStore:
    """Extract the features of all rows, and return the store that holds them.

    Raises:
        InputError: for audio that cannot be used, and for a cache that cannot be written.
    """
    store = FeatureStore(resources.cache_dir / "features", features)
    with resources.progress.counting("features") as count:
        store.extract(data.segments(), jobs=extraction_jobs(features, resources.jobs), on_progress=count)
    return store
