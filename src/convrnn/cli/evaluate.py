"""``convrnn evaluate``: test a saved model on a labelled corpus."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options

if TYPE_CHECKING:
    from convrnn.experiments import TestedModel

_EXAMPLES = options.examples(
    "convrnn evaluate runs/3f2a9c0d11e85b77/best csv:data.csv",
    "convrnn evaluate model csv:other.csv --task emotion --partition all --json",
)


def evaluate(
    bundle: options.BundleArgument,
    corpus: options.CorpusArgument,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="The label column; by default the one that the model was trained on.", show_default=False
        ),
    ] = None,
    partition: Annotated[
        str,
        typer.Option("--partition", help="test, validation, train or all; by default test if there is one, else all."),
    ] = "",
    normalise: options.OtherPolicyOption = None,
    same_speaker: options.SameSpeakerOption = None,
    drop_duplicates: options.DropDuplicatesOption = False,
    accept: options.AcceptOption = None,
    jobs: options.JobsOption = 1,
    device: options.DeviceOption = "auto",
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Test a trained model on a labelled corpus: UA recall, accuracy, recalls, confusion matrix.

    If the model is in its run directory and CORPUS is what it was trained on, the partitions are those of the run; give
    the same --same-speaker and --drop-duplicates as in `convrnn train`. Otherwise they are the corpus's own.

    The recordings are checked first, as by `convrnn check`: each has to be complete, copies need the same label, and
    none may be among those that the model was trained on, if these are known. An error stops the command. A warning
    says whether the model has seen, or may have seen, any of the speakers.
    """
    from convrnn.cli.progress import ShownProgress
    from convrnn.experiments import evaluate as evaluate_model

    tested = evaluate_model(
        bundle,
        corpus,
        task,
        partition=partition or None,
        normalise=normalise,
        same_speaker=same_speaker or (),
        drop_duplicates=drop_duplicates,
        accept=accept or (),
        jobs=jobs,
        device=device,
        cache=cache,
        progress=ShownProgress(),
    )
    if as_json:
        scores = tested.scores
        facts = {
            "corpus": corpus,
            "task": tested.data.task,
            "synthetic": tested.data.synthetic,
            "utterances": len(tested.data),
            "classes": tested.classes,
            "ua_recall": scores.ua_recall,
            "accuracy": scores.accuracy,
            "recalls": dict(zip(tested.classes, scores.recalls, strict=True)),
            "confusion": scores.confusion,
            **tested.provisos.to_dict(),
        }
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(tested)


def _show(tested: "TestedModel") -> None:
    from rich.text import Text

    from convrnn.cli.console import result_grid, results

    scores, data = tested.scores, tested.data
    stdout = results()
    speech = " (synthetic speech)" if data.synthetic else ""
    stdout.print(Text(f"{data.name}{speech}, task {data.task}, {len(data)} utterances"))
    if scores.ua_recall is None:
        absent = [name for name, recall in zip(tested.classes, scores.recalls, strict=True) if recall is None]
        recall = f"undefined, since there is no example of {', '.join(absent)}"
    else:
        recall = f"{100 * scores.ua_recall:.2f} %"
    stdout.print(Text(f"UA recall  {recall}\naccuracy   {100 * scores.accuracy:.2f} %"))
    grid = result_grid("true class", *(f"→ {name}" for name in tested.classes), "recall [%]")
    for name, counts, value in zip(tested.classes, scores.confusion, scores.recalls, strict=True):
        grid.add_row(Text(name), *map(str, counts), "–" if value is None else f"{100 * value:.1f}")
    stdout.print(grid)
    for sentence in tested.provisos.sentences():
        stdout.print(Text(sentence))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(evaluate), epilog=_EXAMPLES)(evaluate)
