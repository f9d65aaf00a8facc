"""The record of a reproduced table: its columns, and the runs requested in its folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import RootModel

from convrnn.errors import Argument, InputError
from convrnn.experiments.grid import GridRun
from convrnn.experiments.record import Command, Record, RecordedRun, advising, listed, training_differences, with_asked
from convrnn.features.config import FeatureConfig
from convrnn.files import write_atomically, writing
from convrnn.json_files import read_json, validate
from convrnn.training.config import TrainingConfig


class TableColumn(Record):
    """A column of a reproduced table, and the runs requested in it.

    Attributes:
        corpus: The corpus as the user named it.
        fingerprint: Content hash of the corpus and the task's labels.
        task: Label column.
        setting: ``"emotion"`` or ``"paralinguistic"``.
        features: Input features.
        split: How the corpus is split.
        training: The optimisation; None in records of early versions.
        runs: Every model, seed and fold, finished or not.
        commands: The command lines that requested them; an empty one for a call from Python.
    """

    corpus: str
    fingerprint: str
    task: str
    setting: str
    features: FeatureConfig
    split: str
    training: TrainingConfig | None = None
    runs: tuple[RecordedRun, ...] = ()
    commands: tuple[Command, ...] = ()

    @classmethod
    def of(cls, corpus: str, split: str, runs: Sequence[GridRun], command: Sequence[str] = ()) -> "TableColumn":
        """The record of what is requested now.

        Args:
            corpus: the corpus as the user named it.
            split: how it is split.
            runs: every model, seed and fold; at least one.
            command: the command line; empty if there is none.
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
            commands=(tuple(command),),
        )

    def is_about(self, other: "TableColumn") -> bool:
        """Whether the other is the same column, whatever its training."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("fingerprint", "task", "setting", "features", "split")
        )


class _TableColumns(RootModel[tuple[TableColumn, ...]]):
    """The content of ``<table>.columns.json``."""


def open_table(out: Path, name: str, asked: Sequence[TableColumn]) -> list[TableColumn]:
    """Write the record of a table; seeds that were requested before are kept.

    Args:
        out: the folder; made if it does not exist.
        name: the table's name.
        asked: the columns that are requested now.

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
    """The record that :func:`open_table` would write.

    Args:
        out: the folder; it may be missing.
        name: the table's name.
        asked: the columns that are requested now.

    Returns:
        The same columns, each with all runs that were requested in the folder.

    Raises:
        InputError: if the folder holds the table with another column or training, naming it, since it would be lost; or
            if the record is damaged.
    """
    path = _record_of(out, name)
    columns = list(asked)
    if path.exists():
        with advising():
            recorded_columns = validate(_TableColumns, read_json(path), path, "the record of a table").root
        for before in recorded_columns:
            same = [number for number, column in enumerate(columns) if column.is_about(before)]
            if not same:
                raise InputError(
                    Argument("out", str(out)),
                    f" holds {name} of {before.corpus}, task {before.task}, setting {before.setting}, split "
                    f"{before.split}, which is not requested now; choose another ",
                    Argument("out"),
                    ", or request that too",
                )
            column = columns[same[0]]
            if before.training and column.training and before.training != column.training:
                raise InputError(
                    Argument("out", str(out)),
                    f" holds {name} of {before.corpus} with ",
                    *listed(training_differences(before.training, column.training)),
                    "; choose another ",
                    Argument("out"),
                )
            adds = not before.commands or not set(column.runs) <= set(before.runs)
            update = {
                "runs": with_asked(before.runs, column.runs),
                "commands": (*before.commands, *column.commands) if adds else before.commands,
            }
            columns[same[0]] = column.model_copy(update=update)
    return columns
