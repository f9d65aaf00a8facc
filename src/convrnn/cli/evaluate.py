"""``convrnn evaluate``: test a saved model on a labelled corpus."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options

if TYPE_CHECKING:
    from convrnn.corpora.check import CheckReport
    from convrnn.corpora.labelled import LabelledCorpus
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
    from convrnn.cli.bundles import choose_policy, open_bundle, partition_rows, training_split
    from convrnn.cli.console import Counter, warn
    from convrnn.cli.progress import ShownProgress
    from convrnn.corpora.gate import check_tested_rows
    from convrnn.experiments.arguments import check_choice
    from convrnn.experiments.prepare import make_ready
    from convrnn.experiments.resources import Resources, extraction_jobs
    from convrnn.experiments.rows import RowOptions, accept_or_stop, open_named, use_rows
    from convrnn.training.evaluate import evaluate as evaluate_bundle

    if partition:
        check_choice("partition", partition, PARTITIONS)
    chosen = RowOptions.of(same_speaker or (), accept or (), drop_duplicates=drop_duplicates)
    cache_dir, progress = options.use_cache(cache), ShownProgress()
    model, spec = open_bundle(bundle)
    features, task = model.config.features, task or model.config.task
    make_ready(features, progress)
    policy = choose_policy(model, normalise)
    resources = Resources(cache_dir, extraction_jobs(features), progress)
    whole = open_named(corpus, progress)
    data, provisos = use_rows(whole, task, chosen, resources)
    trained_on = data
    if spec is not None and spec.task != task and spec.task in whole.tasks:
        trained_on, _ = use_rows(whole, spec.task, chosen, resources)
    split = training_split(spec, trained_on)
    if spec is not None and split is None and spec.corpus == trained_on.name:
        warn(
            f"{spec.corpus} is not as it was when the model was trained, so its own partitions are used; if the model "
            "was trained with --same-speaker or --drop-duplicates, give the same here"
        )
    rows = partition_rows(data, partition, split)
    with Counter("checking recordings", line=False) as counter:
        report = check_tested_rows(data, rows, split, cache_dir=cache_dir, jobs=resources.jobs, on_progress=counter)
    provisos = accept_or_stop(report, data, chosen, provisos, progress)
    _tell_narrow(report, features.sample_rate)
    if overlap := _seen_speakers(spec, data, rows, same_corpus=split is not None):
        warn(overlap)
    with Counter("features", line=False) as counter:
        found = evaluate_bundle(
            model,
            data,
            rows=rows,
            normalise=policy,
            cache_dir=cache_dir,
            jobs=resources.jobs,
            on_progress=counter,
        )
    if as_json:
        scores = found.scores
        facts = {
            "corpus": corpus,
            "task": task,
            "synthetic": data.synthetic,
            "utterances": len(found.predictions),
            "classes": found.classes,
            "ua_recall": scores.ua_recall,
            "accuracy": scores.accuracy,
            "recalls": dict(zip(found.classes, scores.recalls, strict=True)),
            "confusion": scores.confusion,
            **provisos.to_dict(),
        }
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(found, data, task, provisos.sentences())


def _seen_speakers(spec: "RunSpec | None", data: "LabelledCorpus", rows: list[int], *, same_corpus: bool) -> str:
    """A warning about speakers whom the model has seen or may have seen; "" if there are none."""
    if spec is None:
        return (
            "the model is not in its run directory, so its training speakers are unknown and may be among those tested "
            "here"
        )
    speakers = set(data.table["speaker"].iloc[rows])
    seen = {*spec.split.train, *spec.split.validation} & speakers
    if not seen:
        return ""
    share = f"{len(seen)} of {len(speakers)} speakers"
    if same_corpus:
        return f"the model was trained or selected on {share}, so these are not results on unseen speakers"
    return (
        f"{share} have names of speakers that the model was trained or selected on; if they are the same people, these "
        "are not results on unseen speakers"
    )


def _tell_narrow(report: "CheckReport", rate: int) -> None:
    """Warn of files with a lower sample rate than the model was trained with."""
    from convrnn.cli.console import warn

    narrow = {own: count for own, count in report.sample_rates.items() if own < rate}
    if narrow:
        warn(
            f"{sum(narrow.values())} of {sum(report.sample_rates.values())} files have a lower sample rate than the "
            f"model's {rate} Hz, the lowest {min(narrow)} Hz; their upper bands are empty, unlike those of the "
            "training recordings"
        )


def _show(found: "Evaluation", data: "LabelledCorpus", task: str, provisos: list[str]) -> None:
    from rich.text import Text

    from convrnn.cli.console import result_grid, results

    scores = found.scores
    stdout = results()
    speech = " (synthetic speech)" if data.synthetic else ""
    stdout.print(Text(f"{data.name}{speech}, task {task}, {len(found.predictions)} utterances"))
    if scores.ua_recall is None:
        absent = [name for name, recall in zip(found.classes, scores.recalls, strict=True) if recall is None]
        recall = f"undefined, since there is no example of {', '.join(absent)}"
    else:
        recall = f"{100 * scores.ua_recall:.2f} %"
    stdout.print(Text(f"UA recall  {recall}\naccuracy   {100 * scores.accuracy:.2f} %"))
    grid = result_grid("true class", *(f"→ {name}" for name in found.classes), "recall [%]")
    for name, counts, value in zip(found.classes, scores.confusion, scores.recalls, strict=True):
        grid.add_row(Text(name), *map(str, counts), "–" if value is None else f"{100 * value:.1f}")
    stdout.print(grid)
    for sentence in provisos:
        stdout.print(Text(sentence))


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(evaluate), epilog=_EXAMPLES)(evaluate)
