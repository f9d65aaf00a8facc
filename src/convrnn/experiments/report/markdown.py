"""The report as Markdown."""

from collections.abc import Sequence

from convrnn.experiments.report.layout import Figure, Layout, Line, Place
from convrnn.experiments.report.notes import captions, notes, provisos
from convrnn.experiments.report.numbers import format_seconds, p_value, percent, signed
from convrnn.experiments.results import Entry, Results
from convrnn.plain_text import markdown as plain

_NONE = "–"


def markdown(results: Results, layout: Layout) -> str:
    """The table in the paper's layout, a line per model and column with everything else, and the notes.

    A comparison of one column is one table, with a line per model.

    Args:
        results: the table.
        layout: the table as it is shown.
    """
    parts = [f"# {plain(results.title)}", *(f"**{plain(proviso)}**" for proviso in provisos(results))]
    if not results.single:
        parts.append("\n".join(_overview(layout)))
    if details := _details(results, layout):
        parts.append("\n".join(details))
    said = [plain(note) for note in notes(results, layout)]
    said += [f"**{plain(heading)}**: {plain(caption)}" for heading, caption in captions(results)]
    parts.append("\n".join(f"- {sentence}" for sentence in said))
    return "\n\n".join(parts) + "\n"


def _overview(layout: Layout) -> list[str]:
    names = [""]
    for heading in layout.headings:
        text = plain(heading.text)
        names += [f"{text}: paper"] if heading.paper else []
        names += [f"{text}: {layout.measured_name}"] if heading.ours else []
        names += ["difference"] if heading.paper and heading.ours else []
    return [*_head(names), *(_overview_line(line, layout) for line in layout.lines)]


def _overview_line(line: Line, layout: Layout) -> str:
    entries = [plain(line.heading)]
    for heading, place in zip(layout.headings, line.places, strict=True):
        entries += [_figure(place.paper)] if heading.paper else []
        entries += [_figure(place.ours)] if heading.ours else []
        entries += [_difference(place)] if heading.paper and heading.ours else []
    return _row(entries)


def _details(results: Results, layout: Layout) -> list[str]:
    against = ["to standard convolution", "95 % interval of the difference", "p"] if layout.tested else []
    first = ["model" if results.single else "", layout.measured_name, "seeds", "95 % interval"]
    head = _head([*first, *against, "accuracy", "parameters", "training time of a seed"])
    lines = []
    for number, column in enumerate(results.columns):
        for row, entry in enumerate(column.entries):
            if (found := entry.measured) is None:
                continue
            model = plain(entry.row.heading)
            ours = layout.lines[row].places[number].ours
            lines.append(
                _row(
                    [
                        model if results.single else f"{plain(column.column.heading)}: {model}",
                        _figure(ours) if results.single else str(ours),
                        str(len(found.seeds)),
                        _NONE if found.interval is None else " to ".join(percent(limit) for limit in found.interval),
                        *(_test(entry) if layout.tested else []),
                        percent(found.accuracy),
                        f"{found.parameters:,}",
                        format_seconds(sum(found.seconds) / len(found.seconds)),
                    ]
                )
            )
    return [*head, *lines] if lines else []


def _test(entry: Entry) -> list[str]:
    if entry.test is None or entry.corrected_p is None:
        return [_NONE] * 3
    return [
        signed(entry.test.difference),
        f"{signed(entry.test.low)} to {signed(entry.test.high)}",
        p_value(entry.corrected_p),
    ]


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
