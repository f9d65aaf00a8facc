"""Run sections and show their results: on the terminal, in Markdown and in JSON."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.compare import Comparison, Entry
from benchmarks.measure import Spread

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Text in columns; all but the first ``names`` hold numbers."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1


@dataclass(frozen=True)
class Section:
    """The results of one section.

    Attributes:
        title: Its heading.
        text: What was measured and how to read it.
        tables: The results for people.
        comparisons: All measurements, for programs.
        extra: Further data for programs, made of dataclasses, lists, dicts and plain values.
        left_out: One line for each thing that could not be measured.
    """

    title: str
    text: str
    tables: Sequence[Table]
    comparisons: Sequence[Comparison]
    extra: Mapping[str, Any] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    @property
    def refused(self) -> list[str]:
        """One line for each contender whose answer is wrong."""
        return [line for comparison in self.comparisons for line in comparison.refused]

    @property
    def notes(self) -> list[str]:
        """What is missing from the tables, and why."""
        return list(dict.fromkeys([*self.left_out, *self.refused]))


def number(value: float) -> str:
    """Three significant digits, without an exponent.

    Example:
        >>> number(0.01234), number(12.345), number(1234.5), number(0)
        ('0.0123', '12.3', '1234', '0')
    """
    if value == 0:
        return "0"
    digits = 3 if abs(value) < 1 else 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.3g}" if abs(value) < 0.1 else f"{value:.{digits}f}"


def ratio(spread: Spread | None) -> str:
    """A ratio with its quartiles.

    Example:
        >>> ratio(Spread(3.123, 3.0, 3.25))
        '3.12 (3.00 to 3.25)'
    """
    return MISSING if spread is None else f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"


def comparison_table(
    title: str, case_columns: Mapping[str, str], comparisons: Iterable[Comparison], *, with_rates: bool = False
) -> Table:
    """The entries of all comparisons, one per row.

    Args:
        title: Title of the table.
        case_columns: Headings of the first columns, by their key in ``Comparison.case``.
        comparisons: The comparisons, which differ in those columns.
        with_rates: Add columns for the useful GFLOP/s and their share of the machine's rate.
    """
    head = [*case_columns.values(), "what", "ms", "times ours (quartiles)"]
    head += ["useful GFLOP/s", "of matrix rate"] if with_rates else []
    head += ["difference"]
    rows = [
        [*(str(comparison.case[key]) for key in case_columns), *_entry_cells(entry, with_rates)]
        for comparison in comparisons
        for entry in comparison.entries
    ]
    return Table(title, head, rows, names=len(case_columns) + 1)


def _entry_cells(entry: Entry, with_rates: bool) -> list[str]:
    cells = [entry.name, number(entry.milliseconds.median), ratio(entry.ratio)]
    if with_rates:
        cells.append(MISSING if entry.gflops is None else number(entry.gflops))
        cells.append(MISSING if entry.share is None else f"{100 * entry.share.median:.0f} %")
    return [*cells, f"{entry.difference:.0e}"]


def print_section(section: Section, console: Console) -> None:
    """Print a section on the terminal."""
    console.print(Text(f"\n{section.title}", style="bold"))
    console.print(Text(section.text))
    for table in section.tables:
        grid = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD)
        for column, heading in enumerate(table.head):
            grid.add_column(Text(heading), justify="left" if column < table.names else "right")
        for row in table.rows:
            grid.add_row(*map(Text, row))
        console.print(grid)
    for note in section.notes:
        console.print(Text(f"Note: {note}."))


def run_sections(
    described: Mapping[str, str],
    sections: Mapping[str, Callable[[], Section]],
    write: Callable[[dict[str, Section]], None],
) -> int:
    """Measure sections and print them.

    Args:
        described: The machine and the settings, by name.
        sections: Functions that measure a section, by its name.
        write: Writes the finished sections, by name, to files. It is called after each section, so that an interrupted
            run keeps the finished ones.

    Returns:
        The exit code: 1 if an answer was wrong, else 0.
    """
    began = time.monotonic()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for name, value in described.items():
        console.print(f"{name}: {value}", markup=False)
    finished: dict[str, Section] = {}
    for name, run in sections.items():
        finished[name] = run()
        print_section(finished[name], console)
        write(finished)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes in total", file=sys.stderr)
    return int(any(section.refused for section in finished.values()))


def markdown(machine: Mapping[str, str], sections: Sequence[Section], title: str = "Performance on the CPU") -> str:
    """Everything as one Markdown page."""
    parts = [f"# {title}", "\n".join(f"- {name}: {value}" for name, value in machine.items())]
    for section in sections:
        parts += [f"## {section.title}", section.text]
        for table in section.tables:
            rules = ["---" if column < table.names else "---:" for column in range(len(table.head))]
            lines = ["| " + " | ".join(cells) + " |" for cells in (table.head, rules, *table.rows)]
            parts += [f"### {table.title}", "\n".join(lines)]
        if section.notes:
            parts.append("\n".join(f"- {note}." for note in section.notes))
    return "\n\n".join(parts) + "\n"


def to_json(machine: Mapping[str, str], sections: Mapping[str, Section]) -> str:
    """Everything as JSON: the machine, then the results by section."""
    described = {
        name: {"title": section.title, "comparisons": section.comparisons, **section.extra, "notes": section.notes}
        for name, section in sections.items()
    }
    return json.dumps({"machine": dict(machine), "sections": described}, default=asdict, indent=1) + "\n"
