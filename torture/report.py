"""The results as one table, on the terminal and in Markdown, and all details as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from torture import fuzz, kills, resources, sizes
from torture.trials import Outcome

HEAD = ("what", "tried", "as promised", "anything else", "remarks")

_NAMES = {"extract": "extraction alone"}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was tried.
        tried: how often.
        right: how often it ended as promised.
        remarks: further remarks.
        faults: what ended otherwise, one line for each.
    """

    what: str
    tried: int
    right: int
    remarks: str = ""
    faults: tuple[str, ...] = ()

    @property
    def wrong(self) -> int:
        """How often it ended otherwise."""
        return self.tried - self.right

    @property
    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        return self.what, f"{self.tried:,}", f"{self.right:,}", f"{self.wrong:,}", self.remarks


@dataclass
class Report:
    """All lines of the table, and how they came about.

    Attributes:
        facts: seed, versions, cores, duration.
        rows: the lines.
        left_out: what could not be tried here, and why.
    """

    facts: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything ended as promised."""
        return not any(row.wrong for row in self.rows)

    def save(self, path: Path) -> None:
        """Writes everything as JSON, which :meth:`load` reads."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Report":
        """A report that :meth:`save` wrote."""
        content = json.loads(path.read_text(encoding="utf-8"))
        rows = [Row(**row | {"faults": tuple(row["faults"])}) for row in content["rows"]]
        return cls(content["facts"], rows, content["left_out"])

    def show(self, console: Console) -> None:
        """Prints the table, followed by what did not end as promised."""
        table = Table(*HEAD, box=box.SIMPLE_HEAD)
        for column in table.columns[1:4]:
            column.justify = "right"
        for row in self.rows:
            table.add_row(*map(Text, row.cells), style="bold red" if row.wrong else None)
        console.print(table)
        for row in self.rows:
            for fault in row.faults:
                console.print(Text(f"{row.what}: {fault}"))
        for line in self.left_out:
            console.print(Text(f"left out: {line}"))
        console.print(Text(", ".join(f"{name} {value}" for name, value in self.facts.items())))

    def markdown(self) -> str:
        """The table as Markdown, for docs/reliability.md."""
        lines = [_line(HEAD), "|---|---:|---:|---:|---|", *(_line(row.cells) for row in self.rows)]
        facts = ", ".join(f"{name} {value}" for name, value in self.facts.items())
        return "\n".join([*lines, "", f"{facts[:1].upper()}{facts[1:]}."]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def of_inputs(tallies: dict[str, fuzz.Tally]) -> list[Row]:
    """A line per reader."""
    return [
        Row(
            f"damaged input: {name}",
            tally.inputs,
            tally.successes + tally.sentences,
            f"{tally.successes:,} read, {tally.sentences:,} refused in one sentence",
            tuple(f"{count} × {kind}" for kind, count in tally.others.most_common()),
        )
        for name, tally in tallies.items()
    ]


def of_kills(tallies: dict[str, kills.Tally]) -> list[Row]:
    """A line per command."""
    return [
        Row(
            f"killed: {_NAMES.get(name, name)}",
            tally.moments + tally.events,
            tally.moments + tally.events - len(tally.faults),
            f"{tally.moments} at random moments, {tally.events} at {tally.file_events} file events; "
            f"no process lived {tally.longest:.1f} s longer",
            _faults(tally.faults),
        )
        for name, tally in tallies.items()
    ]


def of_resources(tallies: dict[str, resources.Tally]) -> list[Row]:
    """A line per missing resource."""
    return [
        Row(kind, tally.trials, tally.trials - len(tally.faults), faults=_faults(tally.faults))
        for kind, tally in tallies.items()
    ]


def of_sizes(outcomes: Sequence[sizes.Outcome]) -> list[Row]:
    """A line per large corpus."""
    return [
        Row(
            found.what, 1, int(not found.faults), f"{found.seconds:.0f} s, {found.memory / 2**30:.1f} GiB", found.faults
        )
        for found in outcomes
    ]


def _faults(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    return tuple(f"{outcome.trial} ({outcome.failed_at}): {'; '.join(outcome.faults)}" for outcome in outcomes)
