"""The sentences under the table: how the numbers were computed, and their limits."""

from collections.abc import Sequence

from convrnn.experiments.paper import CORPUS_NAMES
from convrnn.experiments.report.layout import Layout
from convrnn.experiments.results import REFERENCE, Entry, Results
from convrnn.experiments.statistics import RESAMPLES


def notes(results: Results, layout: Layout) -> list[str]:
    """What a reader needs to know about the whole table; the captions of the columns come after it.

    Args:
        results: the table.
        layout: the table as it is shown.
    """
    return [
        *_of_values(results),
        *_of_intervals(results),
        *_of_tests(results, layout),
        *_of_the_paper(results),
        *_of_columns(results),
    ]


def _of_values(results: Results) -> list[str]:
    ours = results.paper is not None
    if ours:
        best = "The best value of each column is bold, separately for the paper's and ours."
    else:
        best = "The best value is bold." if results.single else "The best value of each column is bold."
    text = [f"UA recall on the test set in percent. {best}"]
    seeds = {len(found.seeds) for found in results.measured}
    if seeds == {1}:
        text.append(
            f"{'Ours are from one seed, so they have' if ours else 'One seed was run, so there is'} no standard "
            "deviation, and intervals and tests reflect the variation over speakers only."
        )
    elif seeds:
        text.append(f"± is the standard deviation over seeds ({'ours: ' if ours else ''}ddof = 1).")
    if any(found.folds > 1 for found in results.measured):
        text.append("The predictions of all folds of a seed are pooled before anything is computed.")
    return text


def _of_intervals(results: Results) -> list[str]:
    text = []
    if any(found.interval is not None for found in results.measured):
        text.append(
            f"Intervals: 95 % of the mean over seeds, percentile bootstrap over the test speakers ({RESAMPLES:,} "
            "resamples; one that lacks a class is drawn again)."
        )
    without = [found.tally for found in results.measured if found.interval is None]
    if any(not tally.speakers_suffice for tally in without):
        text.append("There is no interval and no test if a class has only one test speaker.")
    if any(tally.speakers_suffice for tally in without):
        text.append(
            "There is no interval if classes have so few speakers that fewer than one in a hundred resamples contains "
            "them all."
        )
    return text


def _of_tests(results: Results, layout: Layout) -> list[str]:
    tests = sum(entry.test is not None for column in results.columns for entry in column.entries)
    if tests:
        text = [
            "p: two-sided paired test of the difference to the standard convolutional layer, with seeds and speakers "
            "as crossed random samples: variance by Obuchowski and Rockette (1995), with the jackknife over speakers, "
            "and Student's t with each part's own degrees of freedom by Banerjee (1960); corrected by Holm's method "
            f"for {tests} comparison{'s' if tests > 1 else ''}."
        ]
        if any(_seeds_differ(column.entries) for column in results.columns):
            text.append("Models with different seeds are compared over their common seeds.")
        return text
    if results.measured and not layout.tested and len(results.rows) > 1:
        return ["The table has no standard convolutional layer, so nothing is tested against it."]
    return []


def _seeds_differ(entries: Sequence[Entry]) -> bool:
    """Whether a model was tested that has other seeds than the standard convolutional layer."""
    reference = [it.measured.seeds for it in entries if it.row.front_end == REFERENCE and it.measured is not None]
    return any(it.test is not None and it.measured is not None and [it.measured.seeds] != reference for it in entries)


def _of_the_paper(results: Results) -> list[str]:
    if results.paper is None:
        return []
    text = ["The paper does not say how many runs its values come from, so nothing is tested against them."]
    if results.paper.groups or results.paper.average:
        text.append(
            "The last rows and the last column are means of the other means. The paper's are computed from its "
            "printed values; four of them differ from its printed averages by 0.01."
        )
    text.append(
        "The baselines are those of the Interspeech challenges of 2009 and 2010, with other features and classifiers."
    )
    if missing := [
        f"{column.column.heading} on {CORPUS_NAMES[column.column.corpus]}"
        for column in results.columns
        if column.done is None
    ]:
        text.append(f"Only in the paper, not measured here: {', '.join(missing)}.")
    return text


def _of_columns(results: Results) -> list[str]:
    text = []
    synthetic = [column.column.heading for column, experiment in results.done if experiment.synthetic]
    # The caption of a single column says so itself.
    if synthetic and not results.single:
        text.append(f"Synthetic speech, not recordings of people: {', '.join(synthetic)}.")
    for column, _ in results.done:
        ran = [run.what_ran for _, found in column.measured for run in found.runs]
        if len(set(ran)) > 1:
            counted = "; ".join(f"{ran.count(what)} by {what}" for what in dict.fromkeys(ran))
            text.append(
                f"{column.column.heading}: not all runs were computed by the same processor and software, which can "
                f"change results: {counted}."
            )
    return text


def captions(results: Results) -> list[tuple[str, str]]:
    """Heading and caption of each column that was done."""
    return [(column.column.heading, experiment.caption) for column, experiment in results.done]


def provisos(results: Results) -> list[str]:
    """What was done to the corpora and which errors were accepted, with the columns concerned; usually nothing."""
    headings: dict[str, list[str]] = {}
    for column, experiment in results.done:
        for sentence in experiment.provisos:
            headings.setdefault(sentence, []).append(column.column.heading)
    return [f"{', '.join(names)}: {sentence}" for sentence, names in headings.items()]
