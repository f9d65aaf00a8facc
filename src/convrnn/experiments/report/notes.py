"""The sentences under the table: how the numbers were made, and what they are not."""

from collections.abc import Sequence

from convrnn.experiments.cells import CellColumn
from convrnn.experiments.paper import CORPUS_NAMES, PaperTable
from convrnn.experiments.report.layout import Layout
from convrnn.experiments.statistics import RESAMPLES


def notes(table: PaperTable, columns: Sequence[CellColumn], layout: Layout) -> list[str]:
    """What a reader has to know of the whole table; the columns' own captions come after it.

    Args:
        table: the paper's.
        columns: all columns.
        layout: the table made of them.
    """
    measured = [cell.measured for column in columns for cell in column.cells if cell.measured is not None]
    seeds = {len(found.seeds) for found in measured}
    text = ["UA recall on the test set in percent. The best value of each column is bold, the paper's and ours apart."]
    if seeds == {1}:
        text.append(
            "Ours are of one seed, so they have no standard deviation, and intervals and tests know of speakers only."
        )
    elif seeds:
        text.append("± is the standard deviation over seeds (ours: ddof = 1).")
    if any(run.folds > 1 for found in measured for run, _ in found.runs):
        text.append("The predictions of all folds of a seed are pooled before anything is computed.")
    if any(found.interval is not None for found in measured):
        text.append(
            f"Intervals: 95 % of the mean over seeds, percentile bootstrap over the test speakers ({RESAMPLES:,} "
            "resamples; one that lacks a class is drawn again)."
        )
    if any(found.interval is None for found in measured):
        text.append("There is no interval and no test where a class has a single test speaker.")
    comparisons = sum(cell.comparison is not None for column in columns for cell in column.cells)
    if comparisons:
        text.append(
            "p: two-sided paired test of the difference to the standard convolutional layer, with seeds and speakers "
            "as crossed random samples: variance by Obuchowski and Rockette (1995), with the jackknife over speakers, "
            "and Student's t with each part's own degrees of freedom by Banerjee (1960); corrected by Holm's method "
            f"for {comparisons} comparison{'s' if comparisons > 1 else ''}."
        )
    elif measured and not layout.tested:
        text.append("The table has no standard convolutional layer, so nothing is tested against it.")
    text.append("The paper does not say how many runs its values are of, so nothing is tested against them.")
    if table.groups or table.average:
        text.append(
            "The last lines and the last column are means of the other means. The paper's are computed from its "
            "printed values, which gives its printed averages but for 0.01 in four places."
        )
    text.append(
        "The baselines are those of the Interspeech challenges of 2009 and 2010, with other features and classifiers."
    )
    if missing := [
        f"{column.column.heading} on {CORPUS_NAMES[column.column.corpus]}" for column in columns if column.done is None
    ]:
        text.append(f"Only in the paper, not done here: {', '.join(missing)}.")
    if synthetic := [column.column.heading for column in columns if column.done is not None and column.done.synthetic]:
        text.append(f"Synthetic speech, not recordings of people: {', '.join(synthetic)}.")
    return text


def captions(columns: Sequence[CellColumn]) -> list[tuple[str, str]]:
    """Heading and caption of each column that was done."""
    return [(column.column.heading, column.done.caption) for column in columns if column.done is not None]


def provisos(columns: Sequence[CellColumn]) -> list[str]:
    """What was done to the corpora and let through, each with the columns that it holds for; most often nothing."""
    headings: dict[str, list[str]] = {}
    for column in columns:
        for sentence in () if column.done is None else column.done.provisos:
            headings.setdefault(sentence, []).append(column.column.heading)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in headings.items()]
