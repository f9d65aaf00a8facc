"""The report as Markdown."""

from collections.abc import Sequence

from convrnn.experiments.cells import CellColumn
from convrnn.experiments.paper import PaperTable
from convrnn.experiments.report.layout import Figure, Layout, Line, Place, p_value, percent, signed
from convrnn.experiments.report.notes import captions, notes, provisos
from convrnn.experiments.table import format_seconds
from convrnn.plain_text import markdown as plain

_NONE = "–"


def markdown(table: PaperTable, columns: Sequence[CellColumn], layout: Layout) -> str:
    """The table in the paper's layout, then a line per model and column with everything else, then the notes."""
    parts = [
        f"# Table {table.number}: {table.title}",
        *(f"**{plain(proviso)}**" for proviso in provisos(columns)),
        "\n".join(_overview(layout)),
    ]
    if details := _details(columns, tested=layout.tested):
        parts.append("\n".join(details))
    said = [plain(note) for note in notes(table, columns, layout)]
    said += [f"**{plain(heading)}**: {plain(caption)}" for heading, caption in captions(columns)]
    parts.append("\n".join(f"- {sentence}" for sentence in said))
    return "\n\n".join(parts) + "\n"


def _overview(layout: Layout) -> list[str]:
    names = [""]
    for heading in layout.headings:
        text = plain(heading.text)
        names += [f"{text}: paper"] if heading.paper else []
        names += [f"{text}: ours"] if heading.ours else []
        names += ["difference"] if heading.paper and heading.ours else []
    return [*_head(names), *(_overview_line(line, layout) for line in layout.lines)]


def _overview_line(line: Line, layout: Layout) -> str:
    entries = [plain(line.heading)]
    for heading, place in zip(layout.headings, line.places, strict=True):
        entries += [_figure(place.paper)] if heading.paper else []
        entries += [_figure(place.ours)] if heading.ours else []
        entries += [_difference(place)] if heading.paper and heading.ours else []
    return _row(entries)


def _details(columns: Sequence[CellColumn], *, tested: bool) -> list[str]:
    comparison = ["to standard convolution", "95 % interval of that", "p"] if tested else []
    head = _head(
        ["", "ours", "seeds", "95 % interval", *comparison, "accuracy", "parameters", "training time of a seed"]
    )
    lines = []
    for column in columns:
        for cell in column.cells:
            if (found := cell.measured) is None:
                continue
            compared = [_NONE] * len(comparison)
            if cell.comparison is not None and cell.corrected_p is not None:
                compared = [
                    signed(cell.comparison.difference),
                    f"{signed(cell.comparison.low)} to {signed(cell.comparison.high)}",
                    p_value(cell.corrected_p),
                ]
            lines.append(
                _row(
                    [
                        f"{plain(column.column.heading)}: {plain(cell.row.heading)}",
                        str(Figure(found.mean, found.std)),
                        str(len(found.seeds)),
                        _NONE if found.interval is None else " to ".join(percent(limit) for limit in found.interval),
                        *compared,
                        percent(found.accuracy),
                        f"{found.parameters:,}",
                        format_seconds(sum(found.seconds) / len(found.seconds)),
                    ]
                )
            )
    return [*head, *lines] if lines else []


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|---|" + "---:|" * (len(names) - 1)]


def _row(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return _NONE
    return f"**{figure}**" if figure.best else str(figure)


def _difference(place: Place) -> str:
    return _NONE if place.difference is None else signed(place.difference)
