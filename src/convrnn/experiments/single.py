"""Trains one model on one split, as a comparison does many times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convrnn.arguments import check_choice
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.gate import Provisos
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import make_splits
from convrnn.errors import Argument, InputError
from convrnn.experiments.arguments import check_folder, check_numbers, check_policy
from convrnn.experiments.grid import GridRun, run_grid, scores
from convrnn.experiments.prepare import (
    check_models,
    check_window,
    extract,
    features_for,
    ready_features,
    refuse_for_frames,
    tell_input,
)
from convrnn.experiments.progress import Progress
from convrnn.experiments.resources import Resources
from convrnn.experiments.rows import RowOptions, check_rows, named_corpus, open_rows
from convrnn.features.registry import FEATURES
from convrnn.models.presets import FRONT_ENDS, SETTINGS
from convrnn.training.config import DEFAULTS, training_config
from convrnn.training.placement import Placement
from convrnn.training.result import RunResult
from convrnn.training.run_directory import BEST
from convrnn.training.saved_model import SavedModel, load
from convrnn.training.spec import make_spec


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TrainedModel:
    """A model that was trained and tested once.

    Attributes:
        run: what was trained.
        result: its scores on the test set, training time and others.
        data: the rows of the corpus that it was trained, validated and tested on.
        provisos: what was done to the rows, and the errors that were accepted.
    """

    run: GridRun
    result: RunResult
    data: LabelledCorpus
    provisos: Provisos

    def __repr__(self) -> str:
        return (
            f"TrainedModel({self.run} on {self.data.name}, task {self.data.task}: {scores(self.result)}; {self.path})"
        )

    @property
    def model(self) -> SavedModel:
        """The saved model, as :func:`convrnn.load` gives it."""
        return load(self.path)

    @property
    def path(self) -> Path:
        """The folder of the saved model."""
        return self.result.directory / BEST


def train(
    corpus: str | Path | Corpus,
    task: str,
    *,
    out: Path | str,
    model: str = "clstm",
    setting: str = "emotion",
    split: str | None = None,
    split_seed: int = 0,
    fold: int | None = None,
    seed: int = 0,
    normalise: str = "speaker",
    max_epochs: int = DEFAULTS.max_epochs,
    patience: int = DEFAULTS.patience,
    batch_size: int = DEFAULTS.batch_size,
    learning_rate: float = DEFAULTS.lr,
    features: str | None = None,
    window_ms: float | None = None,
    sample_rate: int | None = None,
    same_speaker: Sequence[str] = (),
    drop_duplicates: bool = False,
    accept: Sequence[str] = (),
    jobs: int = 1,
    device: str = "auto",
    precision: str = "32",
    devices: int = 1,
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Train one model on one split, and test it once.

    The recordings are checked first, and classes are balanced, as in :func:`~convrnn.experiments.comparison.compare`. A
    finished run is never repeated, and the same call continues an interrupted one.

    Args:
        corpus: see :func:`~convrnn.experiments.comparison.compare`, which explains most arguments in more detail.
        task: the label column to predict.
        out: folder of runs; this one gets its own directory in it, named by a hash of its settings and data.
        model: a front end, one of :data:`~convrnn.models.presets.FRONT_ENDS`.
        setting: ``"emotion"`` or ``"paralinguistic"``.
        split: how speakers are divided.
        split_seed: seed of the random choices in the split.
        fold: the fold to train on, from 1; None if the split has only one.
        seed: seed of the initialisation, the balancing and the order of examples.
        normalise: whether features are standardised per ``"speaker"``, ``"utterance"`` or ``"corpus"``.
        max_epochs: maximum number of epochs.
        patience: epochs without a better validation result after which training stops.
        batch_size: utterances per training step.
        learning_rate: Adam's learning rate.
        features: input features.
        window_ms: length of the windows on the raw waveform.
        sample_rate: in Hz.
        same_speaker: pairs of names of the same person, as ``"A=B"``.
        drop_duplicates: whether to leave out copies of recordings.
        accept: kinds of errors of the corpus that do not stop the training.
        jobs: number of processes that check recordings and extract features; the model is trained in one.
        device: as for :func:`~convrnn.experiments.comparison.compare`.
        precision: likewise.
        devices: likewise.
        cache: the cache folder.
        progress: receives the progress.

    Raises:
        InputError: for arguments, a corpus or a folder that cannot be used, and for a run that fails.
        GridInterrupt: for Ctrl-C during the training.
    """
    out = Path(out)
    check_folder("out", out)
    corpus = named_corpus("corpus", corpus)
    check_choice("model", model, FRONT_ENDS)
    check_choice("setting", setting, SETTINGS)
    if features is not None:
        check_choice("features", features, FEATURES)
    policy = check_policy(normalise)
    check_numbers(split_seed=split_seed, fold=fold, seed=seed, jobs=jobs, sample_rate=sample_rate, window_ms=window_ms)
    check_window(features, window_ms)
    training = training_config(max_epochs, patience, batch_size, learning_rate)
    placement = Placement.of(device, precision, devices)
    chosen = RowOptions.of(same_speaker, accept, drop_duplicates=drop_duplicates)
    with Resources.using(cache, jobs, progress, placement) as resources:
        check_models([model], setting, ready_features(features, sample_rate, resources.progress), window_ms)
        data, provisos = open_rows(corpus, task, chosen, resources)
        refuse_for_frames(data, features=features, sample_rate=sample_rate)
        split = split or data.default_split
        splits = make_splits(data, split, seed=split_seed)
        number = _choose_fold(split, len(splits), fold)
        provisos = check_rows(data, [splits[number]], chosen, provisos, resources)
        config = features_for(data, features, sample_rate, resources.progress)
        tell_input(data, config, resources.progress, given=sample_rate is not None)
        spec = make_spec(
            data,
            splits[number],
            front_end=model,
            setting=setting,
            features=config,
            window_ms=window_ms,
            normalise=policy,
            training=training,
            seed=seed,
            precision=placement.precision,
            device=placement.device,
            devices=placement.devices,
        )
        run = GridRun(spec, number, len(splits))
        if not run.finished(out):
            extract(data, config, resources)
        [finished] = run_grid(
            [run],
            data,
            cache_dir=resources.cache_dir,
            runs_dir=out,
            index=placement.index,
            progress=resources.progress,
        )
    return TrainedModel(run, finished.result, data, provisos)


def _choose_fold(split: str, folds: int, fold: int | None) -> int:
    """The position of the fold to train on."""
    if fold is None and folds > 1:
        raise InputError(
            Argument("split", split), f" has {folds} folds; choose one with ", Argument("fold"), f", 1 to {folds}"
        )
    if fold is not None and fold > folds:
        raise InputError(
            Argument("fold", fold), ": ", Argument("split", split), f" has {folds} fold{'s' if folds > 1 else ''}"
        )
    return (fold or 1) - 1
