"""The table of results: one row per task and model, mean and standard deviation over seeds."""

from collections.abc import Sequence
from statistics import mean, stdev

from convrnn.cli.console import result_grid, results
from examples.video.training import Result


def print_table(found: Sequence[Result]) -> None:
    """Prints accuracies of words and error rates of sentences on both partitions, in the order in which they come."""
    grid = result_grid("task", "frames", "front end", "measure", "validation [%]", "test [%]", "parameters", "seeds")
    for column in grid.columns[1:4]:
        column.justify = "left"
    for name in dict.fromkeys(map(_row, found)):
        group = [it for it in found if _row(it) == name]
        reads, task, frames, front_end, parameters = name
        accuracy = reads == "words"
        grid.add_row(
            task if accuracy else "sentences",
            frames,
            front_end,
            "accuracy" if accuracy else "word error rate",
            _spread([_shown(it.validation_error, accuracy) for it in group]),
            _spread([_shown(it.test_error, accuracy) for it in group]),
            f"{parameters:,}",
            ", ".join(str(it.seed) for it in group),
        )
        kinds = group[0].test_errors
        for kind in kinds if len(kinds) > 1 else ():
            grid.add_row(f"  {kind}", "", "", "", "", _spread([_shown(it.test_errors[kind], accuracy) for it in group]))
    results().print(grid)


def _row(result: Result) -> tuple[str, str, str, str, int]:
    return result.reads, result.task, result.frames, result.front_end, result.parameters


def _shown(error: float, accuracy: bool) -> float:
    return 100 * (1 - error if accuracy else error)


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.1f}" if len(values) < 2 else f"{mean(values):.1f} ± {stdev(values):.1f}"
