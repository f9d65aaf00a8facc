"""Tests a saved model on a labelled corpus, and warns if it has seen the speakers before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from convrnn.arguments import check_choice
from convrnn.corpora.check import CheckReport
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.gate import Provisos, check_tested_rows
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError
from convrnn.experiments.arguments import PARTITIONS, check_numbers
from convrnn.experiments.prepare import choose_policy, make_ready
from convrnn.experiments.progress import Progress
from convrnn.experiments.resources import Resources, extraction_jobs
from convrnn.experiments.rows import RowOptions, accept_or_stop, named_corpus, open_named, open_rows, use_rows
from convrnn.experiments.single import TrainedModel
from convrnn.features.base import AudioFeatures
from convrnn.features.config import FeatureConfig
from convrnn.training import evaluate as evaluation
from convrnn.training.metrics import Scores
from convrnn.training.placement import Placement
from convrnn.training.saved_model import SavedModel
from convrnn.training.spec import RunSpec


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TestedModel:
    """A saved model's results on a corpus.

    Attributes:
        classes: the model's classes, in the order of the scores.
        scores: UA recall, accuracy, recalls and confusion matrix.
        predictions: one row per utterance, see :func:`~convrnn.training.evaluate.predictions_table`.
        data: the rows that it was tested on.
        provisos: what was done to the rows, and the errors that were accepted.
    """

    __test__ = False  # pytest collects classes whose names begin with Test

    classes: tuple[str, ...]
    scores: Scores
    predictions: pd.DataFrame
    data: LabelledCorpus
    provisos: Provisos

    def __repr__(self) -> str:
        recall = self.scores.ua_recall
        shown = "undefined" if recall is None else f"{100 * recall:.2f} %"
        return (
            f"TestedModel({len(self.data)} utterances of {self.data.name}, task {self.data.task}: UA recall {shown}, "
            f"accuracy {100 * self.scores.accuracy:.2f} %)"
        )


def evaluate(
    model: Path | str | SavedModel | TrainedModel,
    corpus: str | Path | Corpus,
    task: str | None = None,
    *,
    partition: str | None = None,
    normalise: str | None = None,
    same_speaker: Sequence[str] = (),
    drop_duplicates: bool = False,
    accept: Sequence[str] = (),
    jobs: int = 1,
    device: str = "auto",
    cache: Path | str | None = None,
    progress: Progress | None = None,
) -> TestedModel:
    """Test a saved model on a labelled corpus.

    If the model is in its run directory and this is the corpus that it was trained on, the partitions are those of the
    run; give the same ``same_speaker`` and ``drop_duplicates`` as in the training. Otherwise they are the corpus's own.

    The recordings are checked first: each has to be complete, copies need the same label, and none may be among those
    that the model was trained on, if these are known. A warning says whether the model has seen, or may have seen, any
    of the speakers.

    Args:
        model: what :func:`convrnn.load` takes or gives, or what :func:`~convrnn.experiments.single.train` gives.
        corpus: see :func:`~convrnn.experiments.comparison.compare`.
        task: the label column; by default the one that the model was trained on.
        partition: ``"test"``, ``"validation"``, ``"train"`` or ``"all"``; by default test if there is one, else all.
        normalise: a normalisation policy instead of the model's own.
        same_speaker: pairs of names of the same person, as ``"A=B"``.
        drop_duplicates: whether to leave out copies of recordings.
        accept: kinds of errors of the corpus that do not stop the evaluation.
        jobs: number of processes that check recordings and extract features.
        device: where the model computes, as for :func:`~convrnn.experiments.comparison.compare`.
        cache: the cache folder.
        progress: receives the progress and the warnings.

    Raises:
        InputError: for arguments, a model or a corpus that cannot be used.

    Example:
        .. code-block:: python

            tested = evaluate("runs/3f2a9c0d11e85b77", "csv:speech.csv")
            tested.scores.ua_recall, tested.predictions
    """
    corpus = named_corpus("corpus", corpus)
    if partition is not None:
        check_choice("partition", partition, PARTITIONS)
    check_numbers(jobs=jobs)
    placement = Placement.of(device)
    chosen = RowOptions.of(same_speaker, accept, drop_duplicates=drop_duplicates)
    if isinstance(model, TrainedModel):
        model = model.model
    saved = model if isinstance(model, SavedModel) else SavedModel.from_pretrained(model)
    config = saved.bundle.config
    with Resources.using(cache, extraction_jobs(config.features, jobs), progress, placement) as resources:
        progress = resources.progress
        make_ready(config.features, progress)
        policy = choose_policy(saved, normalise, progress)
        whole = open_named(corpus, progress) if isinstance(corpus, str) else corpus
        _refuse_other_input(config.features, whole)
        data, provisos = open_rows(whole, task or config.task, chosen, resources)
        split = _split_of(saved, whole, data, chosen, resources)
        rows = _rows_of(data, partition, split)
        with progress.counting("checking recordings") as count:
            report = check_tested_rows(
                data, rows, split, cache_dir=resources.cache_dir, jobs=resources.jobs, on_progress=count
            )
        provisos = accept_or_stop(report, data, chosen, provisos, progress)
        if isinstance(config.features, AudioFeatures):
            _tell_narrow(report, config.features.sample_rate, progress)
        if warning := _seen_speakers(saved.spec, data, rows, same_corpus=split is not None):
            progress.warning(warning)
        with progress.counting("features") as count:
            found = evaluation.evaluate(
                saved.to(str(placement)).bundle,
                data,
                rows=rows,
                normalise=policy,
                cache_dir=resources.cache_dir,
                jobs=resources.jobs,
                on_progress=count,
            )
    tested = replace(data, table=data.table.iloc[rows])
    return TestedModel(found.classes, found.scores, found.predictions, tested, provisos)


def _refuse_other_input(features: FeatureConfig, corpus: Corpus) -> None:
    """Refuse recordings for a model of frames, and frames for a model of recordings."""
    if corpus.holds_frames and isinstance(features, AudioFeatures):
        raise InputError(f"{corpus.name}: names arrays of frames, but the model takes recordings")
    if not corpus.holds_frames and not isinstance(features, AudioFeatures):
        raise InputError(f"{corpus.name}: names recordings, but the model takes arrays of frames (a column 'frames')")


def _split_of(
    saved: SavedModel, whole: Corpus, data: LabelledCorpus, chosen: RowOptions, resources: Resources
) -> Split | None:
    """The split that the model was trained on, if this is the corpus it was trained on; warns if it was changed since.

    The rows of the training are those with a label for its task, which may be another one than that of the test.
    """
    spec, trained_on = saved.spec, data
    if spec is None:
        return None
    if spec.task != data.task and spec.task in whole.tasks:
        trained_on, _ = use_rows(whole, spec.task, chosen, resources)
    split = saved.split_of(trained_on)
    if split is None and spec.corpus == trained_on.name:
        resources.progress.warning(
            f"{spec.corpus} is not as it was when the model was trained, so its own partitions are used; if speakers "
            "were joined or copies left out in the training, do the same here"
        )
    return split


def _rows_of(corpus: LabelledCorpus, partition: str | None, split: Split | None) -> list[int]:
    """The numbers of the rows of a partition: that of the model's split if it is known, else that of the corpus.

    Raises:
        InputError: if no row is in that partition.
    """
    table = corpus.table
    if split is not None:
        found = [split.sides.get(speaker) for speaker in table["speaker"]]
    else:
        found = table["partition"].tolist()
    wanted = partition or ("test" if "test" in found else "all")
    if wanted == "all":
        return list(range(len(table)))
    rows = [row for row, side in enumerate(found) if side == wanted]
    if not rows:
        raise InputError(
            Argument("partition", wanted),
            f": {corpus.name} has no rows in it; choose ",
            Argument("partition", "all"),
        )
    return rows


def _seen_speakers(spec: RunSpec | None, data: LabelledCorpus, rows: list[int], *, same_corpus: bool) -> str:
    """A warning about speakers whom the model has seen or may have seen; "" if there are none."""
    if spec is None:
        return (
            "the model is not in its run directory, so its training speakers are unknown and may be among those tested "
            "here"
        )
    speakers = set(data.table["speaker"].iloc[rows])
    seen = {*spec.split.train, *spec.split.validation} & speakers
    if not seen:
        return ""
    share = f"{len(seen)} of {len(speakers)} speakers"
    if same_corpus:
        return f"the model was trained or selected on {share}, so these are not results on unseen speakers"
    return (
        f"{share} have names of speakers that the model was trained or selected on; if they are the same people, these "
        "are not results on unseen speakers"
    )


def _tell_narrow(report: CheckReport, rate: int, progress: Progress) -> None:
    """Warn of files with a lower sample rate than the model was trained with."""
    narrow = {own: count for own, count in report.sample_rates.items() if own < rate}
    if narrow:
        progress.warning(
            f"{sum(narrow.values())} of {sum(report.sample_rates.values())} files have a lower sample rate than the "
            f"model's {rate} Hz, the lowest {min(narrow)} Hz; their upper bands are empty, unlike those of the "
            "training recordings"
        )
