"""The paper's comparison on one corpus: several models under one protocol, and a table of their results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from convrnn.arguments import check_choice
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.gate import Provisos
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.experiments.arguments import SEEDS, check_choices, check_folder, check_numbers, check_policy
from convrnn.experiments.caption import experiment_of
from convrnn.experiments.comparison_record import ComparisonRecord, open_folder, recorded
from convrnn.experiments.grid import GridRun, outcomes, plan, run_grid
from convrnn.experiments.outcomes import Outcome
from convrnn.experiments.paper import Column
from convrnn.experiments.prepare import (
    Prepared,
    check_models,
    check_window,
    extract,
    features_for,
    prepare,
    ready_features,
    tell_input,
)
from convrnn.experiments.progress import Progress
from convrnn.experiments.record import RUNS, with_earlier_runs
from convrnn.experiments.resources import Resources, cluster_of, connected, place
from convrnn.experiments.results import Results
from convrnn.experiments.rows import RowOptions, named_corpus
from convrnn.features.registry import FEATURES
from convrnn.features.store import FeatureStore
from convrnn.models.presets import FRONT_ENDS, SETTINGS
from convrnn.training.config import DEFAULTS, training_config

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison:
    """The results of several models on one corpus and task.

    Attributes:
        results: all numbers, and the runs that they come from.
        provisos: what was done to the corpus, and the errors that were accepted.
        folder: the folder of the runs and the report.
    """

    results: Results
    provisos: Provisos
    folder: Path

    def __repr__(self) -> str:
        [(column, experiment)] = self.results.done
        summary = self.results.summary()
        width = max(len(row.model) for row in summary.rows)
        lines = [f"Comparison on {experiment.corpus}, task {column.column.task}, in {self.folder}; UA recall [%]:"]
        return "\n  ".join([*lines, *(f"{row.model:{width}}  {row.ua_recall}" for row in summary.rows)])

    @property
    def table(self) -> "pd.DataFrame":
        """A row per model with all numbers: :attr:`Results.table <convrnn.experiments.results.Results.table>`."""
        return self.results.table

    def report(self, folder: Path | str) -> None:
        """Write the tables, pages and pictures into another folder as well.

        Raises:
            InputError: if a file cannot be written, or the files of a run cannot be read any more.
        """
        self.results.report(folder)


def compare(
    corpus: str | Path | Corpus,
    task: str,
    *,
    out: Path | str,
    models: Sequence[str] | None = None,
    setting: str = "emotion",
    split: str | None = None,
    split_seed: int = 0,
    seeds: int = SEEDS,
    jobs: int = 1,
    cluster: str | None = None,
    device: str = "auto",
    precision: str = "32",
    devices: int = 1,
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
    svm_baseline: bool = False,
    probe: bool = False,
    cache: Path | str | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> Comparison:
    """Train every model with every seed on every fold, and compare their UA recall.

    The recordings are checked first, by :func:`~convrnn.corpora.check.check_corpus`. In every run, examples of the
    smaller training classes are repeated until all classes are equally large (section IV-A of the paper). Each run has
    its own directory in ``out/runs``, named by a hash of its settings and data. Finished runs are never repeated, and
    the same call continues an interrupted comparison. The report of
    :meth:`Results.report <convrnn.experiments.results.Results.report>` is written to ``out``. It covers everything
    compared there so far: further models and seeds are added; a comparison with other settings needs another folder.

    Args:
        corpus: a corpus, the :class:`~pathlib.Path` of a CSV table, or a name: ``"csv:PATH"``, ``"audformat:PATH"``,
            ``"emodb:PATH"``, ``"aibo:PATH"``, ``"agender:PATH"`` or ``"demo"`` (see
            :func:`~convrnn.corpora.registry.open_corpus`).
        task: the label column to predict.
        out: folder for runs, tables and pictures; made if it does not exist.
        models: front ends, names in :data:`~convrnn.models.presets.FRONT_ENDS`; by default those of
            :data:`~convrnn.experiments.arguments.MODELS` that the features suit.
        setting: ``"emotion"`` (section IV-A) or ``"paralinguistic"`` (section IV-B).
        split: ``"partitions"``, ``"random"``, ``"folds:K"``, ``"loso"`` or ``"file:PATH"``, always disjoint by speaker
            (see :func:`~convrnn.corpora.splits.make_splits`); by default the corpus's partitions, or a random split.
        split_seed: seed of the random choices in the split.
        seeds: number of seeds (0, 1, …) of the initialisation, the balancing and the order of examples.
        jobs: number of processes; the results do not depend on it. With a cluster, of those that read recordings here,
            and the number of runs that share a GPU.
        cluster: a Ray cluster whose nodes do the runs: ``"auto"``, the one that this machine belongs to, or
            ``"ray://HOST:PORT"``. Every node needs the same software, and the recordings at the same paths; it uses
            the folder ``cache``, or its own default one. The results are the same as on one machine.
        device: ``"auto"`` (a CUDA GPU if there is one, then Apple's GPU, then the CPU), ``"cpu"``, ``"cuda"``,
            ``"cuda:N"`` or ``"mps"``; with a cluster, only the first three. A run on another kind of device is another
            run.
        precision: ``"32"``, ``"tf32"`` or ``"bf16"``; the last two only on a CUDA GPU.
        devices: number of GPUs that train each model together, for long waveforms, or of processes on the CPU; not with
            a cluster. Another number is another run, since sums are rounded differently.
        normalise: whether features are standardised per ``"speaker"``, ``"utterance"`` or ``"corpus"``.
        max_epochs: maximum number of epochs.
        patience: a run stops after this many epochs without a better validation result.
        batch_size: utterances per training step.
        learning_rate: Adam's learning rate.
        features: one of :data:`~convrnn.features.registry.FEATURES`; by default ``"logmel"``. A corpus of frames has no
            such choice.
        window_ms: length in milliseconds of the windows of the front-end layer on the raw waveform; 25 by default.
        sample_rate: in Hz; by default the lowest among the files with a label, at most 16000.
        same_speaker: pairs of names of the same person, as ``"A=B"``; the person is then called A.
        drop_duplicates: whether to leave out copies of recordings that are listed earlier.
        accept: kinds of errors, among :data:`~convrnn.corpora.gate.ACCEPTABLE`, that do not stop the comparison; the
            results say so.
        svm_baseline: whether to add a linear support vector machine on the mean and standard deviation of the features
            over each utterance, under the same protocol.
        probe: whether to add one on the mean and standard deviation of each trained front end's output.
        cache: folder of extracted features and synthesised speech; by default
            :func:`~convrnn.cache.default_cache_dir`.
        progress: receives the progress.
        command: the command line to record in ``out``, if there is one.

    Raises:
        InputError: for arguments, a corpus or a folder that cannot be used, and for a run that fails; finished work is
            kept.
        GridInterrupt: for Ctrl-C during the runs.

    Example:
        >>> compare("demo", "gender", models=["conv", "lstm"], out="results")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: 'models': unknown value 'lstm'; allowed: baseline, conv, crnn, cgru, clstm, ...
    """
    out = Path(out)
    check_folder("out", out)
    corpus = named_corpus("corpus", corpus)
    if models is not None:
        check_choices("models", models, FRONT_ENDS)
    check_choice("setting", setting, SETTINGS)
    if features is not None:
        check_choice("features", features, FEATURES)
    policy = check_policy(normalise)
    check_numbers(split_seed=split_seed, seeds=seeds, jobs=jobs, sample_rate=sample_rate, window_ms=window_ms)
    check_window(features, window_ms)
    training = training_config(max_epochs, patience, batch_size, learning_rate)
    nodes = cluster_of(cluster, cache)
    chosen = RowOptions.of(same_speaker, accept, drop_duplicates=drop_duplicates)
    if svm_baseline:
        from convrnn.experiments import svm_baseline as linear

        linear.check_policy(policy)
    with (
        connected(nodes),
        Resources.using(cache, jobs, progress, place(device, precision, nodes, devices), nodes) as resources,
    ):
        placement = resources.placement
        models = check_models(models, setting, ready_features(features, sample_rate, resources.progress), window_ms)
        prepared = prepare(
            corpus, task, split, split_seed, chosen, resources, features=features, sample_rate=sample_rate
        )
        config = features_for(prepared.data, features, sample_rate, resources.progress)
        tell_input(prepared.data, config, resources.progress, given=sample_rate is not None)
        runs = plan(
            prepared.data,
            prepared.splits,
            models=models,
            setting=setting,
            seeds=range(seeds),
            features=config,
            window_ms=window_ms,
            normalise=policy,
            training=training,
            placement=placement,
        )
        asked = ComparisonRecord.of(
            runs, prepared.split, prepared.provisos, svm_baseline=svm_baseline, probe=probe, command=command
        )
        record = open_folder(out, asked, runs, prepared.splits)
        grid, found, record = _run(runs, record, prepared, out, resources)
    experiment = experiment_of(_column(grid, prepared.data), prepared, grid, found)
    comparison = Comparison(Results.of([experiment], commands=record.commands), prepared.provisos, out)
    comparison.report(out)
    return comparison


def _run(
    asked: Sequence[GridRun], record: ComparisonRecord, prepared: Prepared, out: Path, resources: Resources
) -> tuple[list[GridRun], list[Outcome], ComparisonRecord]:
    """Do all runs of the folder's table.

    Returns:
        The runs, their outcomes and those of the support vector machines, and the record that they follow.
    """
    data, features, runs_dir = prepared.data, asked[0].spec.features, out / RUNS
    grid: list[GridRun] = []
    found: list[Outcome] = []
    # Another process may have finished runs in the same folder meanwhile.
    while (whole := with_earlier_runs(asked, record.runs, runs_dir)) != grid:
        here = resources.cluster is None and not all(run.finished(runs_dir) for run in whole)
        if record.svm_baseline or record.probe or here:
            extract(data, features, resources)
        grid = whole
        finished = run_grid(
            grid,
            data,
            cache_dir=resources.cache_dir,
            runs_dir=runs_dir,
            jobs=resources.jobs,
            index=resources.placement.index,
            cluster=resources.cluster,
            progress=resources.progress,
        )
        record = recorded(out)
    found = outcomes(grid, finished)
    if not (record.probe or record.svm_baseline):
        return grid, found, record
    from convrnn.experiments.probe import linear_probe
    from convrnn.experiments.svm_baseline import linear_svm

    store = FeatureStore(resources.cache_dir / "features", features)
    arrays = [store.load(segment) for segment in data.segments()]
    if record.probe:
        with resources.progress.counting("probes") as count:
            found += linear_probe(grid, finished, data, arrays, on_progress=count)
    if record.svm_baseline:
        resources.progress.note("linear SVM")
        seeds = sorted({run.spec.seed for run in grid})
        found += linear_svm(arrays, data, prepared.splits, normalise=grid[0].spec.normalise, seeds=seeds)
    return grid, found, record


def _column(grid: Sequence[GridRun], data: LabelledCorpus) -> Column:
    """What the models were trained on, as the report calls it."""
    spec = grid[0].spec
    heading = f"{PurePath(data.name.rpartition(':')[2]).name.removesuffix('.csv')}, {data.task}"
    return Column(heading, data.name.partition(":")[0], data.task, spec.setting, spec.features.name)
