"""The report as LaTeX to include in a paper: one float that needs no package."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from convrnn.experiments.report.layout import Figure, Heading, Layout, Line, Place
from convrnn.experiments.report.notes import captions, notes
from convrnn.experiments.report.numbers import p_value, percent, signed
from convrnn.experiments.results import Results

_SIDE_BY_SIDE, _SIDE_BY_SIDE_TESTED = 6, 4
"""Columns of numbers that fit on a page, without and with p-values; the others go below."""

_HEADING_WIDTH = 15
"""Letters of a row's heading before it is wrapped."""

_ESCAPED = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    '"': "''",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\ldots{}",
    "²": "$^2$",
}


def latex(results: Results, layout: Layout) -> str:
    """A float with the table in the paper's layout, under each value the difference, interval and p-value.

    It spans both columns of the page if the paper's values are next to ours.

    Args:
        results: the table.
        layout: the table as it is shown.
    """
    below = ["95\\,\\% interval", *(["$p$"] if layout.tested else [])]
    if results.paper is None:
        origin = [f"% {' '.join(results.title.split())}."]
        caption = f"{_text(results.title)}. UA recall on the test set in percent; second lines: {', '.join(below)}."
        kind, label = "table", "comparison"
    else:
        number = results.paper.number
        origin = [f"% Table {number} of Keren and Schuller (arXiv:1602.05875), and a repetition of it."]
        caption = (
            f"Table {number} of the paper and a repetition of it: {_text(results.paper.title)}. "
            f"Second lines: {'difference to the paper, ' if layout.compared else ''}{', '.join(below)}."
        )
        kind, label = "table*", results.paper.name
    said = [*notes(results, layout), *(f"{heading}: {text}" for heading, text in captions(results))]
    lines = [
        *origin,
        "% Include it with \\input; it needs no package. Written by convrnn.",
        rf"\begin{{{kind}}}[t]",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:convrnn-{label}}}",
        r"\centering\scriptsize\setlength{\tabcolsep}{2.5pt}",
    ]
    for block in _blocks(layout):
        lines += [*_tabular(layout, block), r"\par\smallskip"]
    lines += [r"\begin{minipage}{\linewidth}\scriptsize", *map(_text, said), r"\end{minipage}", rf"\end{{{kind}}}"]
    return "\n".join(lines) + "\n"


def _blocks(layout: Layout) -> list[list[int]]:
    """Numbers of the columns that are side by side."""
    most = _SIDE_BY_SIDE_TESTED if layout.tested else _SIDE_BY_SIDE
    blocks: list[list[int]] = [[]]
    used = 0
    for number, heading in enumerate(layout.headings):
        if used + _width(heading) > most and used:
            blocks.append([])
            used = 0
        blocks[-1].append(number)
        used += _width(heading)
    return blocks


def _width(heading: Heading) -> int:
    return heading.paper + heading.ours


def _tabular(layout: Layout, block: Sequence[int]) -> Iterator[str]:
    headings = [layout.headings[number] for number in block]
    yield rf"\begin{{tabular}}{{|l|{''.join('r' * _width(heading) + '|' for heading in headings)}}}"
    yield r"\hline"
    if len(layout.headings) > 1:
        yield _row("", [_across(heading, _text(heading.text)) for heading in headings])
    yield _row(
        "", [" & ".join(["paper"] * heading.paper + [layout.measured_name] * heading.ours) for heading in headings]
    )
    kind = ""
    for line in layout.lines:
        if line.kind != kind:
            yield r"\hline"
        kind = line.kind
        yield from _line(line, headings, [line.places[number] for number in block])
    yield r"\hline"
    yield r"\end{tabular}"


def _line(line: Line, headings: Sequence[Heading], places: Sequence[Place]) -> Iterator[str]:
    values = [
        " & ".join([_figure(place.paper)] * heading.paper + [_figure(place.ours)] * heading.ours)
        for heading, place in zip(headings, places, strict=True)
    ]
    below = [_below(place) for place in places]
    first, *rest = wrap(line.heading, _HEADING_WIDTH)
    yield _row(_text(first), values)
    if rest or any(below):
        yield _row(
            _text(" ".join(rest)), [_across(heading, text) for heading, text in zip(headings, below, strict=True)]
        )


def _row(heading: str, entries: Sequence[str]) -> str:
    return rf"{' & '.join([heading, *entries])} \\"


def _across(heading: Heading, text: str) -> str:
    return rf"\multicolumn{{{_width(heading)}}}{{c|}}{{{text}}}"


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return ""
    text = percent(figure.mean) + ("" if figure.std is None else rf"$\pm${percent(figure.std)}")
    return rf"\textbf{{{text}}}" if figure.best else text


def _below(place: Place) -> str:
    """Difference, interval and p-value, those that exist."""
    parts = []
    if place.difference is not None:
        parts.append(_text(signed(place.difference)))
    if place.interval is not None:
        parts.append(f"[{percent(place.interval[0])}, {percent(place.interval[1])}]")
    if place.corrected_p is not None:
        p = p_value(place.corrected_p)
        # Braces make the sign an ordinary symbol, without the space around a relation.
        parts.append(f"$p{{<}}{p.removeprefix('< ')}$" if p.startswith("<") else f"$p{{=}}{p}$")
    return ", ".join(parts)


def _text(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_ESCAPED.get(character, character) for character in text)
