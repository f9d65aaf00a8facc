"""The report of a reproduced table, in every format."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from convrnn.experiments.cells import Cell, CellColumn, Measured, cells_of
from convrnn.experiments.report.html import html
from convrnn.experiments.report.latex import latex
from convrnn.experiments.report.layout import Layout, lay_out, p_value, signed
from convrnn.experiments.report.markdown import markdown
from convrnn.experiments.report.notes import notes
from convrnn.experiments.report.tidy import tidy
from convrnn.experiments.reproduction import Reproduction
from convrnn.files import write_atomically, writing


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A reproduced table with all its numbers.

    Attributes:
        reproduction: the table and its runs.
        columns: the numbers, as :func:`~convrnn.experiments.cells.cells_of` gives them.
        layout: the table as it is shown.
    """

    reproduction: Reproduction
    columns: tuple[CellColumn, ...]
    layout: Layout

    @classmethod
    def of(cls, reproduction: Reproduction) -> Self:
        """Compute every number: means, intervals, tests.

        Raises:
            ValueError: for a class without test example, whose recall does not exist.
        """
        columns = cells_of(reproduction)
        return cls(reproduction, columns, lay_out(reproduction.table, columns))

    def save(self, folder: Path) -> None:
        """Write ``<table>.md``, ``.csv``, ``.tex`` and ``.html`` into a folder, each at once or not at all.

        Args:
            folder: made if it does not exist.

        Raises:
            InputError: a file cannot be written, or the learning curves of a run cannot be read.
        """
        table = self.reproduction.table
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{table.name}.md", markdown(table, self.columns, self.layout))
        write_atomically(folder / f"{table.name}.csv", tidy(table, self.columns))
        write_atomically(folder / f"{table.name}.tex", latex(table, self.columns, self.layout))
        write_atomically(folder / f"{table.name}.html", html(self.reproduction, self.columns, self.layout))

    def grid(self) -> tuple[list[str], list[list[str]]]:
        """Header and rows of text for a terminal: the columns that were done, with the paper's values."""
        shown = [(number, heading) for number, heading in enumerate(self.layout.headings) if heading.ours]
        header = ["model"]
        for _, heading in shown:
            header.append(heading.text)
            header += ["paper", "difference"] if heading.paper else []
            header += ["p"] if self.layout.tested else []
        rows = []
        for line in self.layout.lines:
            row = [line.heading]
            for number, heading in shown:
                place = line.places[number]
                row.append("" if place.ours is None else str(place.ours))
                if heading.paper:
                    row.append("" if place.paper is None else str(place.paper))
                    row.append("" if place.difference is None else signed(place.difference))
                if self.layout.tested:
                    row.append("" if place.corrected_p is None else p_value(place.corrected_p))
            if any(row[1:]):
                rows.append(row)
        return header, rows

    def to_json(self) -> str:
        """Every number as JSON: percent, seconds; null where there is none."""
        table = self.reproduction.table
        return json.dumps(
            {
                "table": table.name,
                "number": table.number,
                "title": table.title,
                "command": self.reproduction.command,
                "notes": notes(table, self.columns, self.layout),
                "columns": [_column(column) for column in self.columns],
                "averages": _averages(self.layout),
            },
            indent=2,
            ensure_ascii=False,
            allow_nan=False,
        )


def _column(column: CellColumn) -> dict[str, Any]:
    done = column.done
    return {
        **asdict(column.column),
        "in_paper": column.own,
        "challenge": column.challenge,
        "done": None
        if done is None
        else {
            "corpus": done.corpus,
            "synthetic": done.synthetic,
            "classes": done.classes,
            "caption": done.caption,
            "provisos": done.provisos,
        },
        "cells": [_cell(cell, () if done is None else done.classes) for cell in column.cells],
    }


def _cell(cell: Cell, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "model": cell.row.front_end,
        "heading": cell.row.heading,
        "paper": None if cell.paper is None else asdict(cell.paper),
        "ours": None if cell.measured is None else _measured(cell.measured, classes),
        "difference": cell.difference,
        "to_conv": None if cell.comparison is None else {**asdict(cell.comparison), "p_holm": cell.corrected_p},
    }


def _measured(found: Measured, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "std": found.std,
        "interval": found.interval,
        "accuracy": found.accuracy,
        "seeds": found.seeds,
        "ua_recalls": found.tally.ua_recalls.tolist(),
        "recalls": dict(zip(classes, found.tally.recalls.mean(axis=0).tolist(), strict=True)),
        "speakers": dict(zip(found.tally.speakers, found.tally.speaker_recalls.tolist(), strict=True)),
        "confusion": found.confusion.tolist(),
        "parameters": found.parameters,
        "seconds": found.seconds,
        "runs": [
            {"seed": run.spec.seed, "fold": run.fold, "hash": run.spec.hash, "best_epoch": finished.result.best_epoch}
            for run, finished in found.runs
        ],
    }


def _averages(layout: Layout) -> list[dict[str, Any]]:
    """The means of means, which are in no cell."""
    averages = []
    for line in layout.lines:
        for heading, place in zip(layout.headings, line.places, strict=True):
            if line.kind == "group" or (line.kind == "model" and heading is layout.headings[-1] and layout.averaged):
                averages.append(
                    {
                        "line": line.heading,
                        "column": heading.text,
                        "paper": None if place.paper is None else place.paper.mean,
                        "ours": None if place.ours is None else place.ours.mean,
                    }
                )
    return averages
