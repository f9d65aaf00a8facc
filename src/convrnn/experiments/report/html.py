"""The report as one web page that needs nothing else: no network, no script."""

import base64
import json
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

import convrnn
from convrnn.corpora.splits import Split
from convrnn.experiments.outcomes import ModelResult, Run
from convrnn.experiments.report.confusion import MOST_WITH_NUMBERS, largest_confusions, shares_of
from convrnn.experiments.report.curves import Curves, curves
from convrnn.experiments.report.layout import Layout
from convrnn.experiments.report.notes import notes, provisos
from convrnn.experiments.report.numbers import format_seconds, p_value, percent, signed
from convrnn.experiments.report.strip import MOST_DOTS, Strip, class_strip, speaker_strip
from convrnn.experiments.results import Experiment, ResultColumn, Results

_OF_A_RUN = ("seed", "split")
"""Fields of a spec that differ between the runs of one model."""

MOST_CLASSES, MOST_SPEAKERS = 100, MOST_DOTS
"""Largest numbers of classes and speakers that a page lists completely."""

_EXTREMES = 20
"""Of more, a page lists this many with the lowest recall and as many with the highest."""

_CONFUSIONS = 20
"""Number of most frequent confusions that a page lists if a matrix has no numbers."""

_MOST_RUNS, _MOST_SPLITS, _MOST_NAMES = 500, 10, 500
"""Largest numbers of runs, of splits, and of speakers of a part of a split that a page lists."""


def html(results: Results, layout: Layout, pictures: Mapping[int, Mapping[str, bytes]]) -> str:
    """The page.

    Args:
        results: the table.
        layout: the table as it is shown.
        pictures: positions of columns to the models' confusion matrices as PNG, for columns with too many classes for
            numbers.

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
    runs = [run for found in results.measured for run in found.runs]
    return environment.get_template("page.html.jinja").render(
        results=results,
        lead=_lead(results),
        provisos=provisos(results),
        layout=layout,
        bodies=[list(lines) for _, lines in groupby(layout.lines, key=lambda line: line.kind)],
        notes=notes(results, layout),
        sections=[
            _section(f"column-{number + 1}", column, column.done, pictures.get(number, {}))
            for number, column in enumerate(results.columns)
            if column.done is not None and column.measured
        ],
        synthetic=_synthetic([experiment for _, experiment in results.done]),
        commands=[shlex.join(command) for command in results.commands],
        convrnn_version=convrnn.__version__,
        devices=_counted([run.result.device_name for run in runs]),
        versions=_counted([", ".join(f"{name} {its}" for name, its in run.result.versions.items()) for run in runs]),
        finished=_span(sorted(run.result.finished for run in runs)),
        most={"runs": _MOST_RUNS, "splits": _MOST_SPLITS, "names": _MOST_NAMES},
    )


def _lead(results: Results) -> str:
    """What the page compares."""
    if results.paper is None:
        return "Every model is trained and tested on the same recordings."
    if all(column.in_paper for column, _ in results.done):
        return "The paper's values, and ours from a repetition of the same experiment."
    return "The paper's values, and the same models on other data: compare the differences between models."


def _synthetic(experiments: Sequence[Experiment]) -> str:
    """The label of a page with synthetic corpora."""
    synthetic = [experiment.synthetic for experiment in experiments]
    return "synthetic speech" if all(synthetic) else "partly synthetic speech" if any(synthetic) else ""


@dataclass(frozen=True, slots=True)
class _Confusion:
    """A class that is mistaken for another."""

    truth: str
    prediction: str
    share: float
    count: int


@dataclass(frozen=True, slots=True)
class _Model:
    """One model's numbers in a section."""

    heading: str
    found: ModelResult
    classes: tuple[str, ...]
    picture: str

    @property
    def recalls(self) -> list[tuple[float, float | None]]:
        """Mean and deviation over seeds of each class's recall in percent."""
        columns = self.found.tally.recalls.T.tolist()
        return [(statistics.fmean(seeds), statistics.stdev(seeds) if len(seeds) > 1 else None) for seeds in columns]

    @property
    def shares(self) -> list[list[tuple[float, int]]]:
        """Share (0 to 1) and count of each predicted class, for each true class."""
        pairs = zip(shares_of(self.found.confusion).tolist(), self.found.confusion.tolist(), strict=True)
        return [list(zip(*pair, strict=True)) for pair in pairs]

    @property
    def confusions(self) -> list[_Confusion]:
        """The most frequent ones."""
        confusion = self.found.confusion
        shares = shares_of(confusion)
        return [
            _Confusion(self.classes[true], self.classes[wrong], float(shares[true, wrong]), int(confusion[true, wrong]))
            for true, wrong in largest_confusions(confusion, _CONFUSIONS)
        ]

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
        return _median([run.result.epochs for run in self.found.runs])


@dataclass(frozen=True, slots=True)
class _Line:
    """A class or a speaker with its recall under each model in percent."""

    name: str
    utterances: int
    recalls: list[float]


@dataclass(frozen=True, slots=True)
class _Lines:
    """Classes or speakers: all of them, or if they are many those with the lowest and the highest recalls."""

    lowest: list[_Line]
    highest: list[_Line]
    left_out: int

    @classmethod
    def of(cls, lines: list[_Line], most: int) -> "_Lines":
        if len(lines) <= most:
            return cls(lines, [], 0)
        ordered = sorted(lines, key=lambda line: statistics.fmean(line.recalls))
        return cls(ordered[:_EXTREMES], ordered[-_EXTREMES:], len(lines) - 2 * _EXTREMES)


@dataclass(frozen=True, slots=True)
class _Section:
    """Everything about one column."""

    anchor: str
    heading: str
    done: Experiment
    models: list[_Model]
    folds: int
    with_numbers: bool
    curves: list[Curves]
    class_strip: Strip
    classes: _Lines
    speaker_strip: Strip
    speakers: _Lines
    shared_spec: dict[str, Any]
    model_specs: list[tuple[str, dict[str, Any]]]
    splits: list[Split]
    runs: list[tuple[str, Run]]


def _section(anchor: str, column: ResultColumn, done: Experiment, pictures: Mapping[str, bytes]) -> _Section:
    models = column.measured
    runs = [(heading, run) for heading, found in models for run in found.runs]
    shared, of_models = _specs(models)
    return _Section(
        anchor=anchor,
        heading=column.column.heading,
        done=done,
        models=[_Model(heading, found, done.classes, _embedded(pictures.get(heading))) for heading, found in models],
        folds=max(found.folds for _, found in models),
        with_numbers=len(done.classes) <= MOST_WITH_NUMBERS,
        curves=curves(models),
        class_strip=class_strip(models, done.classes),
        classes=_Lines.of(_class_lines(models, done.classes), MOST_CLASSES),
        speaker_strip=speaker_strip(models),
        speakers=_Lines.of(_speaker_lines(models), MOST_SPEAKERS),
        shared_spec=shared,
        model_specs=of_models,
        splits=list({run.spec.split.name: run.spec.split for _, run in runs}.values()),
        runs=runs,
    )


def _embedded(picture: bytes | None) -> str:
    """The address of a picture that the page holds itself; empty for none."""
    return "" if picture is None else f"data:image/png;base64,{base64.b64encode(picture).decode('ascii')}"


def _class_lines(models: Sequence[tuple[str, ModelResult]], classes: Sequence[str]) -> list[_Line]:
    totals = models[0][1].tally.totals.sum(axis=0).tolist()
    recalls = np.array([found.tally.recalls.mean(axis=0) for _, found in models]).T.tolist()
    return [_Line(*line) for line in zip(classes, totals, recalls, strict=True)]


def _speaker_lines(models: Sequence[tuple[str, ModelResult]]) -> list[_Line]:
    tally = models[0][1].tally
    recalls = np.array([found.tally.speaker_recalls for _, found in models]).T.tolist()
    return [_Line(*line) for line in zip(tally.speakers, tally.totals.sum(axis=1).tolist(), recalls, strict=True)]


def _specs(models: Sequence[tuple[str, ModelResult]]) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """What the specs of all models share, and what is specific to each; empty if there is no run."""
    specs = [
        (heading, found.runs[0].spec.model_dump(mode="json", exclude=set(_OF_A_RUN)))
        for heading, found in models
        if found.runs
    ]
    if not specs:
        return {}, []
    (_, first), *others = specs
    shared = {key: value for key, value in first.items() if all(spec[key] == value for _, spec in others)}
    return shared, [
        (heading, {key: value for key, value in spec.items() if key not in shared}) for heading, spec in specs
    ]


def _equals(p: float) -> str:
    """``"= 0.043"``, ``"< 0.001"``."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _median(numbers: Sequence[int]) -> str:
    """``"7 (3 to 12)"``, or the only number there is; a dash for none."""
    if not numbers:
        return "–"
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{statistics.median(numbers):g} ({low} to {high})"


def _counted(values: Sequence[str]) -> list[tuple[str, int]]:
    """Distinct values in their order, with how often each occurs."""
    return [(value, values.count(value)) for value in dict.fromkeys(values)]


def _span(times: list[str]) -> str:
    """The first and the last of sorted times; empty if there is none."""
    return " to ".join(dict.fromkeys(times[:1] + times[-1:]))
