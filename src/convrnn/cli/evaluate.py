"""``convrnn evaluate``: a trained model on a labelled corpus."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options

if TYPE_CHECKING:
    from convrnn.corpora.corpus import Corpus
    from convrnn.training.evaluate import Evaluation
    from convrnn.training.spec import RunSpec

_EXAMPLES = options.examples(
    "convrnn evaluate runs/3f2a9c0d11e85b77/best csv:data.csv",
    "convrnn evaluate model csv:other.csv --task emotion --partition all --json",
)

PARTITIONS = ("test", "validation", "train", "all")


def evaluate(
    bundle: options.BundleArgument,
    corpus: options.CorpusArgument,
    task: Annotated[
        str | None, typer.Option("--task", help="The label column; by default the model's.", show_default=False)
    ] = None,
    partition: Annotated[
        str, typer.Option("--partition", help="test, validation, train or all; by default test, if there is one.")
    ] = "",
    normalise: options.OtherPolicyOption = None,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Test a trained model on a labelled corpus: UA recall, accuracy, recalls, confusion matrix.

    On the corpus that the model was trained on, the partitions are those of its run, if it lies in its run directory;
    on any other they are the corpus's own.
    """
    from convrnn.cli.bundles import choose_policy, open_bundle, partition_rows, training_split
    from convrnn.cli.console import Counter, warn
    from convrnn.cli.prepare import extraction_jobs, make_ready, open_with_progress, use_cache
    from convrnn.training.evaluate import evaluate as evaluate_bundle

    if partition:
        options.choose("--partition", partition, PARTITIONS)
    cache_dir = use_cache(cache)
    model, spec = open_bundle(bundle)
    make_ready(model.config.features)
    policy = choose_policy(model, normalise)
    data = open_with_progress(corpus)
    data.classes(task or model.config.task)
    split = training_split(spec, data)
    rows = partition_rows(data, partition, split)
    if overlap := _seen_speakers(spec, data, rows, same_corpus=split is not None):
        warn(overlap)
    features = model.config.features
    with Counter("features", line=False) as counter:
        found = evaluate_bundle(
            model,
            data,
            task,
            rows=rows,
            normalise=policy,
            cache_dir=cache_dir,
            jobs=extraction_jobs(features),
            on_progress=counter,
        )
    if as_json:
        scores = found.scores
        facts = {
            "corpus": corpus,
            "task": task or model.config.task,
            "synthetic": data.synthetic,
            "utterances": len(found.predictions),
            "classes": found.classes,
            "ua_recall": scores.ua_recall,
            "accuracy": scores.accuracy,
            "recalls": dict(zip(found.classes, scores.recalls, strict=True)),
            "confusion": scores.confusion,
        }
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(found, data, task or model.config.task)


def _seen_speakers(spec: "RunSpec | None", data: "Corpus", rows: list[int], *, same_corpus: bool) -> str:
    """What to say about rows of speakers whom the model has seen, or may have seen; "" if there are none."""
    if spec is None:
        return (
            "the bundle is not in its run directory, so the speakers that it was trained on are not known, and nobody "
            "has checked that those tested here are unseen"
        )
    speakers = set(data.table["speaker"].iloc[rows])
    seen = {*spec.split.train, *spec.split.validation} & speakers
    if not seen:
        return ""
    share = f"{len(seen)} of {len(speakers)} speakers"
    if same_corpus:
        return f"the model was trained or selected on {share}, so these numbers are not those of unseen speakers"
    return (
        f"{share} have names of speakers that the model was trained or selected on; if they are the same people, these "
        "numbers are not those of unseen speakers"
    )


def _show(found: "Evaluation", data: "Corpus", task: str) -> None:
    from rich.text import Text

    from convrnn.cli.console import result_grid, results

    scores = found.scores
    stdout = results()
    speech = " (synthetic speech)" if data.synthetic else ""
    stdout.print(Text(f"{data.name}{speech}, task {task}, {len(found.predictions)} utterances"))
    if scores.ua_recall is None:
        absent = [name for name, recall in zip(found.classes, scores.recalls, strict=True) if recall is None]
        recall = f"undefined, there is no example of {', '.join(absent)}"
    else:
        recall = f"{100 * scores.ua_recall:.2f} %"
    stdout.print(Text(f"UA recall  {recall}\naccuracy   {100 * scores.accuracy:.2f} %"))
    grid = result_grid("true class", *(f"→ {name}" for name in found.classes), "recall [%]")
    for name, counts, value in zip(found.classes, scores.confusion, scores.recalls, strict=True):
        grid.add_row(Text(name), *map(str, counts), "–" if value is None else f"{100 * value:.1f}")
    stdout.print(grid)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(evaluate), epilog=_EXAMPLES)(evaluate)
