"""The report in every format, and the same numbers as JSON."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from convrnn.experiments.outcomes import ModelResult
from convrnn.experiments.report.confusion import MOST_WITH_NUMBERS, pictures_of, save_pictures
from convrnn.experiments.report.html import MOST_CLASSES, MOST_SPEAKERS, html
from convrnn.experiments.report.latex import latex
from convrnn.experiments.report.layout import Layout, lay_out
from convrnn.experiments.report.long_csv import classes_csv, long_csv, speakers_csv
from convrnn.experiments.report.markdown import markdown
from convrnn.experiments.report.notes import notes
from convrnn.experiments.results import Entry, ResultColumn, Results
from convrnn.files import write_atomically, writing


def save(results: Results, folder: Path) -> None:
    """Write every file of the report, as :meth:`~convrnn.experiments.results.Results.report` says.

    Raises:
        InputError: a file cannot be written, or the learning curves of a run cannot be read.
    """
    layout = lay_out(results)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{results.name}.md", markdown(results, layout))
    write_atomically(folder / f"{results.name}.csv", long_csv(results))
    write_atomically(folder / f"{results.name}.tex", latex(results, layout))
    pictures = {
        number: pictures_of(column, column.done.classes, column.column.heading if results.paper is None else "")
        for number, column in enumerate(results.columns)
        if column.done is not None and (results.single or len(column.done.classes) > MOST_WITH_NUMBERS)
    }
    write_atomically(folder / f"{results.name}.html", html(results, layout, pictures))
    if any(len(experiment.classes) > MOST_CLASSES for _, experiment in results.done):
        write_atomically(folder / f"{results.name}.classes.csv", classes_csv(results))
    if any(len(found.tally.speakers) > MOST_SPEAKERS for found in results.measured):
        write_atomically(folder / f"{results.name}.speakers.csv", speakers_csv(results))
    if results.single:
        results.summary().save(folder)
        save_pictures(folder, pictures[0])


def to_json(results: Results) -> str:
    """Every number as JSON, in percent or seconds; null if there is none."""
    layout = lay_out(results)
    return json.dumps(
        {
            "table": results.name,
            "number": None if results.paper is None else results.paper.number,
            "title": results.title if results.paper is None else results.paper.title,
            "command": results.commands[-1] if results.commands else (),
            "earlier_commands": results.commands[:-1],
            "notes": notes(results, layout),
            "columns": [_column(column) for column in results.columns],
            "averages": _averages(layout),
        },
        indent=2,
        ensure_ascii=False,
        allow_nan=False,
    )


def _column(column: ResultColumn) -> dict[str, Any]:
    done = column.done
    return {
        **asdict(column.column),
        "in_paper": column.in_paper,
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
        "cells": [_entry(entry, () if done is None else done.classes) for entry in column.entries],
    }


def _entry(entry: Entry, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "model": entry.row.front_end,
        "heading": entry.row.heading,
        "paper": None if entry.paper is None else asdict(entry.paper),
        "ours": None if entry.measured is None else _measured(entry.measured, classes),
        "difference": entry.difference,
        "to_conv": None if entry.test is None else {**asdict(entry.test), "p_holm": entry.corrected_p},
    }


def _measured(found: ModelResult, classes: tuple[str, ...]) -> dict[str, Any]:
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
            {
                "seed": outcome.seed,
                "fold": outcome.fold,
                "hash": outcome.run.spec.hash,
                "best_epoch": outcome.run.result.best_epoch,
            }
            for outcome in found.outcomes
            if outcome.run is not None
        ],
    }


def _averages(layout: Layout) -> list[dict[str, Any]]:
    """The means of means, which no column has."""
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
