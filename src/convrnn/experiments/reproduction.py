"""Reproduces the paper's tables on its corpora or others."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ParamSpec, TypeVar

from convrnn.arguments import check_choice
from convrnn.cache import cache_folder
from convrnn.corpora.corpus import Corpus
from convrnn.errors import Argument, InputError
from convrnn.experiments.arguments import SEEDS, check_choices, check_folder, check_list, check_numbers
from convrnn.experiments.caption import experiment_of
from convrnn.experiments.columns import Request, choose_columns, is_the_papers, missing_columns
from convrnn.experiments.grid import GridRun, outcomes, plan, run_grid
from convrnn.experiments.paper import TABLES, Column, PaperTable
from convrnn.experiments.prepare import Prepared, audio_features, extract, prepare, ready_features, tell_input
from convrnn.experiments.progress import Progress
from convrnn.experiments.record import RUNS, with_earlier_runs
from convrnn.experiments.resources import Resources, cluster_of, connected, place
from convrnn.experiments.results import Results
from convrnn.experiments.rows import RowOptions, named_corpus, open_named
from convrnn.experiments.table_record import TableColumn, open_table, table_columns
from convrnn.features.registry import FEATURES
from convrnn.models.presets import SETTINGS
from convrnn.training.config import DEFAULTS, TrainingConfig

Arguments = ParamSpec("Arguments")
Found = TypeVar("Found")

# The baseline of tables I to III has no front end to put on the waveform.
_FEATURES = tuple(name for name, entry in FEATURES.items() if not entry.load().is_waveform)


@dataclass(frozen=True, slots=True, eq=False)
class ColumnPlan:
    """One column of a table and its runs.

    Attributes:
        column: what its models are trained on.
        prepared: the corpus's rows and how they are split.
        runs: every model, seed and fold.
    """

    column: Column
    prepared: Prepared
    runs: list[GridRun]

    @property
    def corpus(self) -> str:
        """The corpus's name as the user gave it."""
        return self.prepared.data.name


@dataclass(frozen=True, slots=True, eq=False)
class TablePlan:
    """A table of the paper, and the columns of it that are done."""

    table: PaperTable
    columns: list[ColumnPlan]


@dataclass(frozen=True, slots=True, eq=False)
class ReproductionPlan:
    """What :func:`reproduce` is going to do.

    Attributes:
        tables: the tables with their columns and runs; seeds that the folder has already are among them.
        out: the folder of runs and reports.
        resources: cache, processes and progress.
        command: the command line, if there is one.
    """

    tables: list[TablePlan]
    out: Path
    resources: Resources
    command: tuple[str, ...] = field(default=())

    def run(self) -> list[Results]:
        """Do all runs that are left, and write a report per table.

        Returns:
            One result per table.

        Raises:
            InputError: for a run that fails, and for a folder whose reports have other columns or settings.
            GridInterrupt: for Ctrl-C during the runs.
        """
        recorded = [open_table(self.out, table.table.name, _recorded(table, self.command)) for table in self.tables]
        here = self.resources.cluster is None
        with cache_folder(self.resources.cache_dir), connected(self.resources.cluster):
            # All features first, so that a bad recording does not stop the command after hours of training.
            for column in (column for table in self.tables for column in table.columns):
                if here and not all(run.finished(self.out / RUNS) for run in column.runs):
                    extract(column.prepared.data, column.runs[0].spec.features, self.resources)
            return [self._run(table, columns) for table, columns in zip(self.tables, recorded, strict=True)]

    def _run(self, table: TablePlan, recorded: Sequence[TableColumn]) -> Results:
        experiments = []
        for number, column in enumerate(table.columns, start=1):
            self.resources.progress.note(
                f"Table {table.table.number}, {column.column.heading} ({number} of {len(table.columns)})"
            )
            finished = run_grid(
                column.runs,
                column.prepared.data,
                cache_dir=self.resources.cache_dir,
                runs_dir=self.out / RUNS,
                jobs=self.resources.jobs,
                index=self.resources.placement.index,
                cluster=self.resources.cluster,
                progress=self.resources.progress,
            )
            found = outcomes(column.runs, finished)
            experiments.append(experiment_of(column.column, column.prepared, column.runs, found))
        commands = dict.fromkeys(command for column in recorded for command in column.commands)
        results = Results.of(experiments, paper=table.table, commands=list(commands))
        results.report(self.out)
        return results


def plan_reproduction(
    tables: str | Sequence[str],
    *,
    corpora: str | Path | Corpus | Sequence[str | Path | Corpus],
    out: Path | str,
    tasks: Sequence[str] = (),
    setting: str | None = None,
    features: Sequence[str] | None = None,
    split: str | None = None,
    split_seed: int = 0,
    sample_rate: int | None = None,
    same_speaker: Sequence[str] = (),
    drop_duplicates: bool = False,
    accept: Sequence[str] = (),
    seeds: int = SEEDS,
    jobs: int = 1,
    cluster: str | None = None,
    device: str = "auto",
    precision: str = "32",
    devices: int = 1,
    max_epochs: int = DEFAULTS.max_epochs,
    cache: Path | str | None = None,
    progress: Progress | None = None,
    command: Sequence[str] = (),
) -> ReproductionPlan:
    """Open and check the corpora of some of the paper's tables, and list the runs; nothing is trained or written.

    On FAU-Aibo and aGender everything is as in section IV of the paper: partitions, validation speakers, features,
    models. On any other corpus the table's models are compared on your labels, in the table's setting.

    Args:
        tables: one or several of ``"table1"`` to ``"table4"``.
        corpora: one or several corpora, or their names: ``"aibo:PATH"`` for tables I and IV, ``"agender:PATH"`` for II
            to IV, or any other together with ``tasks``.
        out: folder for runs and reports.
        tasks: label columns, for corpora other than the paper's; on the paper's, do only these tasks.
        setting: for other corpora, ``"emotion"`` (section IV-A) or ``"paralinguistic"`` (IV-B); by default the table's,
            if it has only one.
        features: ``"logmel"``, ``"egemaps"``, ``"egemaps-25ms"``; by default the table's, which are log-mel, and in
            tables II and III eGeMAPS with openSMILE's own frames too.
        split: for other corpora, how speakers are divided, as for :func:`~convrnn.experiments.comparison.compare`.
        split_seed: seed of the random choices in the split.
        sample_rate: in Hz; by default that of each corpus.
        same_speaker: pairs of names of the same person, as ``"A=B"``; among several corpora, for those that have both.
        drop_duplicates: whether to leave out copies of recordings that are listed earlier.
        accept: kinds of errors of a corpus that do not stop the reproduction; the reports say so.
        seeds: number of seeds (0, 1, …).
        jobs: number of processes; the results do not depend on it.
        cluster: as for :func:`~convrnn.experiments.comparison.compare`.
        device: likewise.
        precision: likewise.
        devices: likewise.
        max_epochs: maximum number of epochs of a run.
        cache: the cache folder; by default :func:`~convrnn.cache.default_cache_dir`.
        progress: receives the progress.
        command: the command line to record in the reports, if there is one.

    Raises:
        InputError: for arguments, a corpus or a folder that cannot be used.
    """
    out = Path(out)
    check_folder("out", out)
    names = [tables] if isinstance(tables, str) else list(tables)
    check_choices("tables", names, TABLES)
    if setting is not None:
        check_choice("setting", setting, SETTINGS)
    if features is not None:
        check_choices("features", features, _FEATURES)
    check_list("tasks", tasks)
    check_numbers(split_seed=split_seed, sample_rate=sample_rate, seeds=seeds, jobs=jobs, max_epochs=max_epochs)
    by_name: dict[str, str | Corpus] = {}
    for given in [corpora] if isinstance(corpora, str | Path | Corpus) else corpora:
        corpus = named_corpus("corpora", given)
        name = corpus if isinstance(corpus, str) else corpus.name
        if name in by_name:
            raise InputError(Argument("corpora"), f": two corpora are called {name!r}")
        by_name[name] = corpus
    if not by_name:
        raise InputError(Argument("corpora"), ": no corpus is given")
    nodes = cluster_of(cluster, cache)
    chosen = RowOptions.of(same_speaker, accept, drop_duplicates=drop_duplicates, several=len(by_name) > 1)
    _refuse_options_of_others(by_name, setting=setting, split=split, sample_rate=sample_rate)
    requests = _choose(names, by_name, tasks, setting, features or ())
    with (
        connected(nodes),
        Resources.using(cache, jobs, progress, place(device, precision, nodes, devices), nodes) as resources,
    ):
        by_name = {name: _recordings(corpus, resources.progress) for name, corpus in by_name.items()}
        _tell_missing(requests, resources.progress)
        for name in dict.fromkeys(request.column.features for _, columns in requests for request in columns):
            ready_features(name, sample_rate, resources.progress)
        planner = _Planner(by_name, split, split_seed, chosen, sample_rate, resources)
        training = TrainingConfig(max_epochs=max_epochs)
        planned = [
            TablePlan(table, [planner.column(table, request, range(seeds), training) for request in columns])
            for table, columns in requests
        ]
        planner.refuse_unused_pairs()
    return ReproductionPlan([_with_earlier_seeds(out, table) for table in planned], out, resources, tuple(command))


def _arguments_of(
    _planning: Callable[Arguments, object],
) -> Callable[[Callable[..., Found]], Callable[Arguments, Found]]:
    """Give a function that passes all its arguments to another one the signature of that one."""

    def like(function: Callable[..., Found]) -> Callable[Arguments, Found]:
        signature = inspect.signature(_planning)
        function.__signature__ = signature.replace(return_annotation=list[Results])  # type: ignore[attr-defined]
        return function

    return like


@_arguments_of(plan_reproduction)
def reproduce(*arguments: object, **options: object) -> list[Results]:
    """Reproduce tables of the paper, and report the results next to the paper's.

    Each run has its own directory in ``out/runs``. Runs that tables share are done once, finished runs are never
    repeated, and the same call continues an interrupted one. For each table, the report of
    :meth:`Results.report <convrnn.experiments.results.Results.report>` is written to ``out``; it covers all finished
    seeds there.

    Args:
        arguments: as for :func:`plan_reproduction`.
        options: likewise.

    Returns:
        One result per table.

    Raises:
        InputError: for arguments, a corpus or a folder that cannot be used, and for a run that fails; finished work is
            kept.
        GridInterrupt: for Ctrl-C during the runs.

    Example:
        >>> reproduce("table1", corpora=["agender:aGender"], out="results")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: table1 has no column on agender:aGender; it needs aibo:PATH, or another corpus ...
    """
    return plan_reproduction(*arguments, **options).run()  # type: ignore[arg-type]


@dataclass(slots=True)
class _Planner:
    """Plans columns; a corpus and task that several columns share is opened and checked once."""

    corpora: dict[str, str | Corpus]
    split: str | None
    split_seed: int
    chosen: RowOptions
    sample_rate: int | None
    resources: Resources
    prepared: dict[tuple[str, str], Prepared] = field(default_factory=dict)
    told: set[tuple[str, int]] = field(default_factory=set)

    def column(self, table: PaperTable, request: Request, seeds: Sequence[int], training: TrainingConfig) -> ColumnPlan:
        """The runs of one column."""
        column, progress = request.column, self.resources.progress
        prepared = self._prepare(request.corpus, column.task)
        features = audio_features(prepared.data, column.features, self.sample_rate, progress)
        if (request.corpus, features.sample_rate) not in self.told:
            self.told.add((request.corpus, features.sample_rate))
            tell_input(prepared.data, features, progress, given=self.sample_rate is not None)
        runs = plan(
            prepared.data,
            prepared.splits,
            models=[row.front_end for row in table.rows],
            setting=column.setting,
            seeds=seeds,
            features=features,
            training=training,
            placement=self.resources.placement,
        )
        return ColumnPlan(column, prepared, runs)

    def _prepare(self, name: str, task: str) -> Prepared:
        if (name, task) not in self.prepared:
            split = "partitions" if is_the_papers(name) else self.split
            self.prepared[name, task] = prepare(
                self.corpora[name],
                task,
                split,
                self.split_seed,
                self.chosen,
                self.resources,
            )
        return self.prepared[name, task]

    def refuse_unused_pairs(self) -> None:
        """Refuse pairs of names that no corpus has."""
        used = {pair for prepared in self.prepared.values() for pair in prepared.provisos.joined}
        for pair in self.chosen.same_speaker:
            if pair not in used:
                raise InputError(
                    Argument("same_speaker", ("=".join(pair),)), ": none of the corpora has speakers of both names"
                )


def _recordings(corpus: str | Corpus, progress: Progress) -> str | Corpus:
    """The corpus, opened unless it is one of the paper's.

    Raises:
        InputError: for a corpus of frames, and one that cannot be read.
    """
    if isinstance(corpus, str):
        if is_the_papers(corpus):
            return corpus
        corpus = open_named(corpus, progress)
    if corpus.holds_frames:
        raise InputError(f"{corpus.name}: reproduce is for recordings; on arrays of frames use convrnn compare")
    return corpus


def _refuse_options_of_others(corpora: Iterable[str], **given: str | int | None) -> None:
    """Refuse options that have no meaning if all corpora are the paper's."""
    if all(map(is_the_papers, corpora)):
        for name, value in given.items():
            if value is not None:
                raise InputError(
                    Argument(name, value), ": is only for other corpora; on the paper's own this is as in the paper"
                )


def _choose(
    names: Sequence[str],
    corpora: dict[str, str | Corpus],
    tasks: Sequence[str],
    setting: str | None,
    features: Sequence[str],
) -> list[tuple[PaperTable, list[Request]]]:
    """The tables and their columns."""
    requests = [
        (table, choose_columns(table, list(corpora), tasks=tasks, setting=setting, features=features))
        for table in (TABLES[name] for name in names)
    ]
    for name in corpora:
        if not any(request.corpus == name for _, columns in requests for request in columns):
            raise InputError(Argument("corpora", (name,)), f": {', '.join(names)} has no column on it; leave it out")
    return requests


def _tell_missing(requests: Sequence[tuple[PaperTable, Sequence[Request]]], progress: Progress) -> None:
    """Report which of the paper's columns are left out because their corpus, task or features are not requested."""
    for table, columns in requests:
        for column in missing_columns(table, columns):
            progress.note(
                f"Table {table.number}: {column.heading!r} ({column.corpus}:PATH, task {column.task}, "
                f"{column.features}) was not requested and is left out"
            )


def _with_earlier_seeds(out: Path, table: TablePlan) -> TablePlan:
    """The table with the seeds that are already in its report in the folder."""
    in_folder = table_columns(out, table.table.name, _recorded(table))
    columns = [
        replace(column, runs=with_earlier_runs(column.runs, all_asked.runs, out / RUNS, whole_seeds=True))
        for column, all_asked in zip(table.columns, in_folder, strict=True)
    ]
    return replace(table, columns=columns)


def _recorded(table: TablePlan, command: Sequence[str] = ()) -> list[TableColumn]:
    return [TableColumn.of(column.corpus, column.prepared.split, column.runs, command) for column in table.columns]
