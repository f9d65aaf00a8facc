"""The report as one web page that needs nothing else: no network, no script."""

import json
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import convrnn
from convrnn.experiments.cells import CellColumn, Measured
from convrnn.experiments.report.layout import Layout, p_value, percent, signed
from convrnn.experiments.report.notes import notes, provisos
from convrnn.experiments.report.pictures import Curves, Strip, curves, strip
from convrnn.experiments.reproduction import ColumnRuns, Reproduction
from convrnn.experiments.table import format_seconds

_OF_A_RUN = ("seed", "split")
"""Fields of a spec that differ between the runs of one model."""


def html(reproduction: Reproduction, columns: Sequence[CellColumn], layout: Layout) -> str:
    """The page.

    Args:
        reproduction: the table and its runs.
        columns: its numbers.
        layout: the table as it is shown.

    Raises:
        InputError: the learning curves of a run cannot be read.
    """
    environment = Environment(
        loader=PackageLoader("convrnn.experiments.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "signed": signed,
        "p": _equals,
        "duration": format_seconds,
        "json": _json,
    }
    sections = [_section(number, column) for number, column in enumerate(columns, start=1) if column.done is not None]
    finished = [found for column in reproduction.columns for found in column.finished]
    return environment.get_template("page.html.jinja").render(
        table=reproduction.table,
        lead=_lead(columns),
        provisos=provisos(columns),
        layout=layout,
        bodies=[list(lines) for _, lines in groupby(layout.lines, key=lambda line: line.kind)],
        notes=notes(reproduction.table, columns, layout),
        sections=[section for section in sections if section is not None],
        synthetic=_synthetic(reproduction),
        command=shlex.join(reproduction.command),
        convrnn_version=convrnn.__version__,
        devices=_counted([found.result.device_name for found in finished]),
        versions=_counted(
            [", ".join(f"{name} {its}" for name, its in found.result.versions.items()) for found in finished]
        ),
        finished=_span(sorted(found.result.finished for found in finished)),
    )


def _lead(columns: Sequence[CellColumn]) -> str:
    """What the page compares."""
    if all(column.own for column in columns if column.done is not None):
        return "The paper's values and ours, from the same experiment done again."
    return "The paper's values, and the same models on other data: look at the differences between models."


def _synthetic(reproduction: Reproduction) -> str:
    """The label of a page whose corpora are no recordings."""
    synthetic = [column.synthetic for column in reproduction.columns]
    return "synthetic speech" if all(synthetic) else "partly synthetic speech" if any(synthetic) else ""


@dataclass(frozen=True, slots=True)
class _Model:
    """One model's numbers in a section."""

    heading: str
    found: Measured

    @property
    def recalls(self) -> list[tuple[float, float | None]]:
        """Mean and deviation over seeds of each class's recall in percent."""
        columns = self.found.tally.recalls.T.tolist()
        return [(statistics.fmean(seeds), statistics.stdev(seeds) if len(seeds) > 1 else None) for seeds in columns]

    @property
    def shares(self) -> list[list[tuple[float, int]]]:
        """Of each true class, the share of each predicted one, 0 to 1, and the count."""
        return [[(count / sum(row), count) for count in row] for row in self.found.confusion.tolist()]

    @property
    def time(self) -> str:
        seconds = self.found.seconds
        median = format_seconds(statistics.median(seconds))
        if len(seconds) == 1:
            return median
        return f"{median} ({format_seconds(min(seconds))} to {format_seconds(max(seconds))})"

    @property
    def best_epochs(self) -> str:
        return _median(self.found.best_epochs)

    @property
    def epochs(self) -> str:
        return _median([finished.result.epochs for _, finished in self.found.runs])


@dataclass(frozen=True, slots=True)
class _Section:
    """Everything about one column."""

    anchor: str
    heading: str
    runs: ColumnRuns
    models: list[_Model]
    curves: list[Curves]
    strip: Strip
    shared_spec: dict[str, Any]
    model_specs: list[tuple[str, dict[str, Any]]]
    splits: list[dict[str, Any]]


def _section(number: int, column: CellColumn) -> _Section | None:
    models = [(cell.row.heading, cell.measured) for cell in column.cells if cell.measured is not None]
    if column.done is None or not models:
        return None
    specs = [[run.spec.model_dump(mode="json") for run, _ in found.runs] for _, found in models]
    every = [spec for runs in specs for spec in runs]
    shared = {
        key: value
        for key, value in every[0].items()
        if key not in _OF_A_RUN and all(spec[key] == value for spec in every)
    }
    own = [key for key in every[0] if key not in _OF_A_RUN and key not in shared]
    return _Section(
        anchor=f"column-{number}",
        heading=column.column.heading,
        runs=column.done,
        models=[_Model(heading, found) for heading, found in models],
        curves=curves(models),
        strip=strip(models),
        shared_spec=shared,
        model_specs=[
            (heading, {key: runs[0][key] for key in own}) for (heading, _), runs in zip(models, specs, strict=True)
        ],
        splits=list({spec["split"]["name"]: spec["split"] for spec in every}.values()),
    )


def _equals(p: float) -> str:
    """``"= 0.043"``, ``"< 0.001"``."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _median(numbers: Sequence[int]) -> str:
    """``"7 (3 to 12)"``, or the only number there is."""
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{statistics.median(numbers):g} ({low} to {high})"


def _counted(values: Sequence[str]) -> list[tuple[str, int]]:
    """Distinct values in their order, with how often each occurs."""
    return [(value, values.count(value)) for value in dict.fromkeys(values)]


def _span(times: list[str]) -> str:
    """The first and the last of sorted times; empty where there is none."""
    return " to ".join(dict.fromkeys(times[:1] + times[-1:]))
