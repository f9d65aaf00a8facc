"""Tables I to IV of the paper as data: what each compares, and what the authors measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CHALLENGE: Mapping[str, float] = MappingProxyType({"emotion2": 67.7, "emotion5": 38.2, "gender": 77.28, "age": 47.11})
"""Task to the UA recall in percent of its challenge's own baseline, on the paper's test sets: Interspeech 2009 on
FAU-Aibo's test set, Interspeech 2010 on aGender's development set. They had other features and classifiers."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value in a table of the paper: UA recall on the test set in percent.

    Attributes:
        mean: mean over the authors' runs; the paper does not say how many.
        std: their standard deviation.
    """

    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class Row:
    """One model of a table.

    Attributes:
        front_end: its name in :data:`convrnn.models.presets.FRONT_ENDS`.
        heading: its name in the paper.
    """

    front_end: str
    heading: str


CORPUS_NAMES: Mapping[str, str] = {"aibo": "FAU-Aibo", "agender": "aGender"}
"""Kinds of the paper's corpora to their names."""


@dataclass(frozen=True, slots=True)
class Column:
    """What all models of a table are trained on.

    Attributes:
        heading: what the paper calls it.
        corpus: kind of the corpus, the part of its name before the colon: ``"aibo"``, ``"agender"``, …
        task: label column.
        setting: ``"emotion"`` (section IV-A) or ``"paralinguistic"`` (IV-B).
        features: ``"logmel"``, ``"egemaps"`` or ``"egemaps-25ms"``.
    """

    heading: str
    corpus: str
    task: str
    setting: str
    features: str = "logmel"


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose average is a row at the end of a table.

    Attributes:
        heading: what the paper calls it.
        front_ends: the rows that it averages.
    """

    heading: str
    front_ends: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        name: its name in commands, such as ``"table1"``.
        number: its number in the paper, such as ``"I"``.
        title: the paper's caption.
        rows: models from top to bottom.
        columns: from left to right.
        values: the paper's numbers, one tuple per row, in the order of the columns.
        groups: rows of averages below the others.
        average: whether a last column holds each row's mean over all columns.
    """

    name: str
    number: str
    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    values: tuple[tuple[Value, ...], ...]
    groups: tuple[Group, ...] = ()
    average: bool = False

    def own(self, column: Column) -> Column | None:
        """The paper's column that corresponds to another one: same corpus, task, setting and kind of features."""

        def key(column: Column) -> tuple[str, str, str, str]:
            return column.corpus, column.task, column.setting, column.features.removesuffix("-25ms")

        return next((own for own in self.columns if key(own) == key(column)), None)

    def value(self, row: Row, column: Column) -> Value | None:
        """The paper's value for a model and a column; None for a column that is not the paper's.

        Example:
            >>> table = TABLES["table1"]
            >>> table.value(table.rows[2], table.columns[0])
            Value(mean=70.59, std=0.58)
        """
        own = self.own(column)
        return None if own is None else self.values[self.rows.index(row)][self.columns.index(own)]

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings of the columns, each once."""
        return tuple(dict.fromkeys(column.setting for column in self.columns))

    @property
    def features(self) -> tuple[str, ...]:
        """The input features of the columns, each once."""
        return tuple(dict.fromkeys(column.features for column in self.columns))


def _values(*rows: str) -> tuple[tuple[Value, ...], ...]:
    """Rows of ``mean±std``, separated by spaces."""
    return tuple(tuple(Value(*map(float, cell.split("±"))) for cell in row.split()) for row in rows)


_BASELINE = Row("baseline", "baseline")
_CONV = Row("conv", "standard convolutional layer")
_CLSTM = Row("clstm", "CLSTM")
_EXTENDED = Row("extended-clstm", "Extended CLSTM")
_CBLSTM = Row("cblstm", "CBLSTM")

_EMOTION2 = Column("2 labels", "aibo", "emotion2", "emotion")
_EMOTION5 = Column("5 labels", "aibo", "emotion5", "emotion")
_GENDER, _GENDER_EGEMAPS, _AGE, _AGE_EGEMAPS = (
    Column(heading, "agender", task, "paralinguistic", features)
    for task in ("gender", "age")
    for heading, features in (("log mel filter-banks", "logmel"), ("eGeMAPS", "egemaps"))
)

_VARIANTS = tuple(
    Row(f"clstm-{sequence}-{reduce}", f"{sequence} states, {reduce}")
    for sequence in ("hidden", "cell")
    for reduce in ("mean", "max", "last")
)

TABLES: Mapping[str, PaperTable] = MappingProxyType(
    {
        table.name: table
        for table in (
            PaperTable(
                "table1",
                "I",
                "Results on emotion classification task",
                rows=(_BASELINE, _CONV, _CLSTM, _EXTENDED),
                columns=(_EMOTION2, _EMOTION5),
                values=_values(
                    "69.01±0.93 36.89±1.8", "69.13±0.87 38.22±1.19", "70.59±0.58 39.41±0.57", "69.85±0.38 39.72±0.2"
                ),
            ),
            PaperTable(
                "table2",
                "II",
                "Results on gender classification",
                rows=(_BASELINE, _CONV, _CLSTM, _CBLSTM),
                columns=(_GENDER, _GENDER_EGEMAPS),
                values=_values(
                    "70.94±1.0 76.96±0.4", "74.49±0.21 77.54±0.3", "75.68±0.7 78.17±0.33", "76.03±1.28 78.23±0.49"
                ),
            ),
            PaperTable(
                "table3",
                "III",
                "Results on age classification",
                rows=(_BASELINE, _CONV, _CLSTM, _CBLSTM),
                columns=(_AGE, _AGE_EGEMAPS),
                values=_values(
                    "43.14±0.94 46.51±0.62", "45.93±0.52 47.09±0.76", "45.51±0.27 47.15±0.57", "46.39±0.14 47.29±0.58"
                ),
            ),
            PaperTable(
                "table4",
                "IV",
                "Different implementations of CLSTM",
                rows=_VARIANTS,
                columns=(
                    Column("Emotion 2 classes", "aibo", "emotion2", "emotion"),
                    Column("Emotion 5 classes", "aibo", "emotion5", "emotion"),
                    Column("Age", "agender", "age", "paralinguistic"),
                    Column("Gender", "agender", "gender", "paralinguistic"),
                ),
                values=_values(
                    "70.04±0.37 39.47±0.74 45.62±1.08 74.54±0.55",
                    "70.2±0.46 39.46±1.06 45.89±1.13 75.02±1.23",
                    "70.06±0.3 40.47±1.02 45.53±0.53 74.73±1.55",
                    "70.15±0.43 40.27±1.29 46.2±0.33 75.26±0.14",
                    "70.51±0.18 39.99±0.76 45.51±0.27 75.68±0.7",
                    "70.59±0.58 39.41±0.57 45.67±0.72 74.79±1.11",
                ),
                groups=(
                    *(
                        Group(name, tuple(row.front_end for row in _VARIANTS if row.front_end.endswith(name)))
                        for name in ("mean", "max", "last")
                    ),
                    *(
                        Group(
                            f"{name} states", tuple(row.front_end for row in _VARIANTS if f"-{name}-" in row.front_end)
                        )
                        for name in ("hidden", "cell")
                    ),
                ),
                average=True,
            ),
        )
    }
)
"""Name of a table to the table."""
