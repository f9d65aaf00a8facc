"""Results as tables."""

from collections.abc import Iterable, Mapping

from benchmarks.compare import Comparison, Entry
from benchmarks.report import MISSING, Table, number, ratio


def comparison_table(title: str, case_columns: Mapping[str, str], comparisons: Iterable[Comparison]) -> Table:
    """The entries of all comparisons, one per row; the first columns show the case."""
    head = [
        *case_columns.values(),
        "what",
        "ms",
        "times ours (quartiles)",
        "useful TFLOP/s",
        "of the floor",
        "difference",
    ]
    rows = [
        [*(str(comparison.case[key]) for key in case_columns), *_cells(entry)]
        for comparison in comparisons
        for entry in comparison.entries
    ]
    return Table(title, head, rows, names=len(case_columns) + 1)


def _cells(entry: Entry) -> list[str]:
    return [
        entry.name,
        number(entry.milliseconds.median),
        ratio(entry.ratio),
        MISSING if entry.gflops is None else number(entry.gflops / 1e3),
        MISSING if entry.share is None else f"{100 * entry.share.median:.0f} %",
        f"{entry.difference:.0e}",
    ]
