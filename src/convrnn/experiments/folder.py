"""A folder of results is about one experiment: its table is one of all runs that were ever finished there for it."""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel

from convrnn.corpora.gate import Provisos
from convrnn.corpora.splits import Split, load_splits, save_splits
from convrnn.errors import InputError
from convrnn.experiments.compare import GridRun
from convrnn.features.config import FeatureConfig
from convrnn.files import write_atomically, writing
from convrnn.json_files import read_json, validate
from convrnn.models.presets import FRONT_ENDS, preset
from convrnn.plain_text import encodable
from convrnn.training.run_directory import RunDirectory
from convrnn.training.spec import TrainingConfig

COMPARISON = "compare.json"
"""The file that tells what a folder of ``convrnn compare`` is about."""

SPLITS = "split.json"
"""The file of its splits."""

RUNS = "runs"
"""The folder of run directories in a folder of results."""

_OPTIONS = {"max_epochs": "max-epochs", "batch_size": "batch-size", "lr": "learning-rate"}
"""The options that the parts of a training config are chosen with, where they have another name."""

_Model = Annotated[str, Field(pattern=f"^({'|'.join(FRONT_ENDS)})$")]
_Hash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RecordedRun(_Record):
    """One run that was asked for in a folder.

    Attributes:
        model: Name of the front end.
        seed: The run's seed.
        split: Name of its split.
        hash: Name of its directory.
    """

    model: _Model
    seed: int = Field(ge=0, lt=2**63)
    split: str
    hash: _Hash

    @classmethod
    def of(cls, run: GridRun) -> "RecordedRun":
        """What is kept of a run."""
        spec = run.spec
        return cls(model=spec.model_name, seed=spec.seed, split=spec.split.name, hash=spec.hash)


class Comparison(_Record):
    """What a folder of a comparison is about, and the runs that were asked for in it; the content of ``compare.json``.

    Attributes:
        command: The last command line.
        convrnn: The version that ran it.
        corpus: The corpus as the user named it.
        fingerprint: Content hash of the corpus and the task's labels.
        task: Label column.
        classes: Class names.
        setting: ``"emotion"`` or ``"paralinguistic"``.
        split: How the corpus is split, as the user gave it.
        normalise: Over which frames features are standardised.
        features: Input features.
        training: The optimisation.
        yardstick: Whether the table has a row of the yardstick.
        probe: Whether it has rows of probes.
        joined_speakers: Pairs of names that one person goes by.
        dropped_duplicates: Ids of copies that were left out.
        accepted_errors: Kinds of errors of the corpus that were let through, to how many there were.
        runs: Every model, seed and fold, finished or not.
    """

    command: tuple[str, ...]
    convrnn: str
    corpus: str
    fingerprint: str
    task: str
    classes: tuple[str, ...]
    setting: str
    split: str
    normalise: str
    features: FeatureConfig
    training: TrainingConfig
    yardstick: bool = False
    probe: bool = False
    joined_speakers: tuple[tuple[str, str], ...] = ()
    dropped_duplicates: tuple[str, ...] = ()
    accepted_errors: dict[str, int] = {}
    runs: tuple[RecordedRun, ...] = ()

    @classmethod
    def of(
        cls, runs: Sequence[GridRun], split: str, provisos: Provisos, *, yardstick: bool = False, probe: bool = False
    ) -> "Comparison":
        """What is asked for now.

        Args:
            runs: the grid, at least one run.
            split: how the corpus is split, as the user gave it.
            provisos: what was done to the corpus and let through.
            yardstick: whether the table has a row of the yardstick.
            probe: whether it has rows of probes.
        """
        spec = runs[0].spec
        return cls(
            command=("convrnn", *map(encodable, sys.argv[1:])),
            convrnn=version("convrnn"),
            corpus=spec.corpus,
            fingerprint=spec.fingerprint,
            task=spec.task,
            classes=spec.classes,
            setting=spec.setting,
            split=split,
            normalise=spec.normalise,
            features=spec.features,
            training=spec.training,
            yardstick=yardstick,
            probe=probe,
            runs=tuple(map(RecordedRun.of, runs)),
            **provisos.to_dict(),
        )


class TableColumn(_Record):
    """What a column of a reproduced table is about, and the runs that were asked for in it.

    Attributes:
        corpus: The corpus as the user named it.
        fingerprint: Content hash of the corpus and the task's labels.
        task: Label column.
        setting: ``"emotion"`` or ``"paralinguistic"``.
        features: Input features.
        split: How the corpus is split.
        training: The optimisation; None where a version of convrnn wrote it that did not note it.
        runs: Every model, seed and fold, finished or not.
    """

    corpus: str
    fingerprint: str
    task: str
    setting: str
    features: FeatureConfig
    split: str
    training: TrainingConfig | None = None
    runs: tuple[RecordedRun, ...] = ()

    @classmethod
    def of(cls, corpus: str, split: str, runs: Sequence[GridRun]) -> "TableColumn":
        """What is asked for now.

        Args:
            corpus: the corpus as the user named it.
            split: how it is split.
            runs: every model, seed and fold; at least one.
        """
        spec = runs[0].spec
        return cls(
            corpus=corpus,
            fingerprint=spec.fingerprint,
            task=spec.task,
            setting=spec.setting,
            features=spec.features,
            split=split,
            training=spec.training,
            runs=tuple(map(RecordedRun.of, runs)),
        )

    def is_about(self, other: "TableColumn") -> bool:
        """Whether the other is about the same, however long it is trained."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("fingerprint", "task", "setting", "features", "split")
        )


class _TableColumns(RootModel[tuple[TableColumn, ...]]):
    """The content of ``<table>.columns.json``."""


def open_table(out: Path, name: str, asked: Sequence[TableColumn]) -> list[TableColumn]:
    """Note what a folder's report of a table is about; seeds that were asked for before are added.

    Args:
        out: the folder; made if it does not exist.
        name: the table's name.
        asked: the columns that are asked for now.

    Returns:
        As :func:`table_columns`.

    Raises:
        InputError: as :func:`table_columns`.
    """
    columns = table_columns(out, name, asked)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    content = [column.model_dump(mode="json") for column in columns]
    write_atomically(_record_of(out, name), json.dumps(content, indent=2) + "\n")
    return columns


def _record_of(out: Path, name: str) -> Path:
    return out / f"{name}.columns.json"


def table_columns(out: Path, name: str, asked: Sequence[TableColumn]) -> list[TableColumn]:
    """What a folder's report of a table would be about; nothing is written.

    Args:
        out: the folder; it may be missing.
        name: the table's name.
        asked: the columns that are asked for now.

    Returns:
        The same columns, each with all runs that were asked for in the folder.

    Raises:
        InputError: if the report is about something else, which would be lost, naming it. Or if its file is damaged.
    """
    path = _record_of(out, name)
    columns = list(asked)
    if path.exists():
        with _advising():
            recorded_columns = validate(_TableColumns, read_json(path), path, "the record of a table").root
        for before in recorded_columns:
            same = [number for number, column in enumerate(columns) if column.is_about(before)]
            if not same:
                raise InputError(
                    f"--out {out} holds {name} of {before.corpus}, task {before.task}, setting {before.setting}, split "
                    f"{before.split}, which is not asked for now; choose another --out, or ask for that too"
                )
            column = columns[same[0]]
            if before.training and column.training and before.training != column.training:
                told = ", ".join(training_differences(before.training, column.training))
                raise InputError(f"--out {out} holds {name} of {before.corpus} with {told}; choose another --out")
            columns[same[0]] = column.model_copy(update={"runs": _added(before.runs, column.runs)})
    return columns


def open_folder(out: Path, asked: Comparison, runs: Sequence[GridRun], splits: Sequence[Split]) -> Comparison:
    """Note what a folder is about; what was asked for in it before is added to what is asked for now.

    Args:
        out: the folder; made if it does not exist.
        asked: what is asked for now.
        runs: its grid.
        splits: the folds.

    Returns:
        What the folder's table has to be about.

    Raises:
        InputError: if the folder's table and pictures are of another experiment, which would be lost or mixed with
            these, naming what differs; other models and seeds are the same experiment. As
            :func:`with_earlier_runs`, and for damaged files.
    """
    path = out / COMPARISON
    whole = asked
    if path.exists():
        before = recorded(out)
        _refuse_another(out, before, asked, splits)
        with_earlier_runs(runs, before.runs, out / RUNS)  # refuses what the table could not keep
        whole = asked.model_copy(
            update={
                "yardstick": before.yardstick or asked.yardstick,
                "probe": before.probe or asked.probe,
                "runs": _added(before.runs, asked.runs),
            }
        )
    save_splits(splits, out / SPLITS)
    write_atomically(path, json.dumps(whole.model_dump(mode="json"), indent=2) + "\n")
    return whole


def recorded(out: Path) -> Comparison:
    """What a folder of a comparison is about so far.

    Raises:
        InputError: if its ``compare.json`` is damaged.
    """
    path = out / COMPARISON
    with _advising():
        return validate(Comparison, read_json(path), path, "the record of a comparison")


@contextlib.contextmanager
def _advising() -> Iterator[None]:
    """Tells what to do about a damaged record of a folder."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; choose another --out, or delete the file") from error


def with_earlier_runs(
    asked: Sequence[GridRun], before: Sequence[RecordedRun], runs_dir: Path, *, whole_seeds: bool = False
) -> list[GridRun]:
    """The runs of a table: those asked for now, and those of the same experiment that were finished before.

    Args:
        asked: the grid.
        before: what was asked for before; a model and seed that is not finished on every fold is left out.
        runs_dir: folder of the run directories.
        whole_seeds: leave out other models, and seeds with which not all models are finished.

    Returns:
        Seed by seed and fold by fold, models in the order in which they were first asked for.

    Raises:
        InputError: for runs that were finished by a version of convrnn whose numbers are others than this one's.
    """
    folds = {run.fold: run for run in asked}
    now = {(run.spec.model_name, run.spec.seed) for run in asked}
    groups: dict[tuple[str, int], set[str]] = {}
    for entry in before:
        groups.setdefault((entry.model, entry.seed), set()).add(entry.hash)
    earlier: dict[tuple[str, int], list[GridRun]] = {}
    for (model, seed), hashes in groups.items():
        if (model, seed) in now or not all(RunDirectory(runs_dir, name).finished for name in hashes):
            continue
        earlier[model, seed] = [_like(run, model, seed) for run in folds.values()]
        if {run.spec.hash for run in earlier[model, seed]} != hashes:
            raise InputError(
                f"--out {runs_dir.parent} holds runs of {model} with seed {seed} by another version of convrnn, whose "
                "numbers do not belong into one table with this one's; choose another --out, or ask for these too"
            )
    models = list(dict.fromkeys([*(entry.model for entry in before), *(run.spec.model_name for run in asked)]))
    if whole_seeds:
        wanted = {model for model, _ in now}
        seeds = {seed for _, seed in earlier if all((model, seed) in earlier for model in wanted)}
        earlier = {(model, seed): runs for (model, seed), runs in earlier.items() if model in wanted and seed in seeds}
    runs = [*asked, *(run for own in earlier.values() for run in own)]
    return sorted(runs, key=lambda run: (run.spec.seed, run.fold, models.index(run.spec.model_name)))


def _added(before: Sequence[RecordedRun], asked: Sequence[RecordedRun]) -> tuple[RecordedRun, ...]:
    """All runs that were asked for; those of a model and seed that is asked for again are the new ones."""
    again = {(run.model, run.seed) for run in asked}
    kept = [run for run in before if run in asked or (run.model, run.seed) not in again]
    return (*kept, *(run for run in asked if run not in kept))


def _like(run: GridRun, model: str, seed: int) -> GridRun:
    """The run of another model and seed on the same fold."""
    spec = run.spec
    network = preset(model, spec.setting, in_features=spec.features.num_features, num_classes=len(spec.classes))
    return replace(run, spec=spec.model_copy(update={"model_name": model, "model": network, "seed": seed}))


def _refuse_another(out: Path, before: Comparison, asked: Comparison, splits: Sequence[Split]) -> None:
    told = _differences(before, asked)
    if not told and (out / SPLITS).exists():
        with _advising():
            earlier = load_splits(out / SPLITS)
        if earlier != list(splits):
            told = [_difference("split", before.split, asked.split)]
    if told:
        raise InputError(f"--out {out} holds another comparison: {', '.join(told)}; choose another --out")


def _differences(before: Comparison, asked: Comparison) -> list[str]:
    """What makes two experiments, each as it was and as it is now; the splits apart."""
    told = []
    if before.task != asked.task:
        told.append(_difference("task", before.task, asked.task))
    # The fingerprint is also that of the task's labels.
    same_rows = before.task == asked.task or before.corpus != asked.corpus
    if same_rows and before.fingerprint != asked.fingerprint:
        told.append(_other_rows(before, asked))
    told += [
        _difference(name, getattr(before, name), getattr(asked, name))
        for name in ("setting", "normalise")
        if getattr(before, name) != getattr(asked, name)
    ]
    if before.features != asked.features:
        told.append(_difference("features", _told(before.features), _told(asked.features)))
    return told + training_differences(before.training, asked.training)


def training_differences(before: TrainingConfig, now: TrainingConfig) -> list[str]:
    """What differs between two optimisations.

    Example:
        >>> training_differences(TrainingConfig(), TrainingConfig(max_epochs=15))
        ['max-epochs 100 (now 15)']
    """
    return [
        _difference(_OPTIONS.get(name, name), str(getattr(before, name)), str(getattr(now, name)))
        for name in TrainingConfig.model_fields
        if getattr(before, name) != getattr(now, name)
    ]


def _other_rows(before: Comparison, asked: Comparison) -> str:
    """What makes two corpora, or one in two states."""
    if before.corpus == asked.corpus:
        if before.joined_speakers != asked.joined_speakers:
            pairs = [", ".join(map("=".join, it.joined_speakers)) or "nobody" for it in (before, asked)]
            return _difference("same-speaker", *pairs)
        if before.dropped_duplicates != asked.dropped_duplicates:
            copies = [f"{len(it.dropped_duplicates)} copies" for it in (before, asked)]
            return _difference("drop-duplicates", *copies)
    return _difference("corpus", before.corpus, asked.corpus)


def _difference(name: str, before: str, now: str) -> str:
    return f"{name} {before} (now {now})" if before != now else f"{name} {before} (now with other content)"


def _told(features: FeatureConfig) -> str:
    return f"{features.name} at {features.sample_rate} Hz"
