"""``convrnn compare``: the paper's comparison on a corpus."""

import json
import sys
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convrnn.cli import options
from convrnn.errors import InputError

if TYPE_CHECKING:
    from convrnn.corpora.splits import Split
    from convrnn.experiments.compare import GridRun
    from convrnn.experiments.table import Table

_EXAMPLES = options.examples(
    "convrnn compare demo --task gender --setting paralinguistic --seeds 1 --max-epochs 15 --out demo-results",
    "convrnn compare csv:data.csv --task emotion --split folds:5 --seeds 5 --jobs 2 --out results",
    "convrnn compare emodb:emodb --task emotion --split loso --models baseline,clstm --yardstick --out results",
)

EXPERIMENT = ("task", "fingerprint", "setting", "normalise", "features")
"""What one folder of results is about, beside the split; the keys in ``compare.json``."""

MODELS = "baseline,conv,clstm,extended-clstm,cblstm"
"""What is compared by default."""


def compare(
    corpus: options.CorpusArgument,
    task: options.TaskOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for runs, tables and pictures.", show_default=False)],
    models: Annotated[
        str,
        typer.Option(
            "--models",
            help="Front ends, separated by commas; `convrnn models` lists all. By default "
            f"{', '.join(MODELS.split(','))}.",
            show_default=False,
        ),
    ] = MODELS,
    setting: options.SettingOption = "emotion",
    split: options.SplitOption = "",
    split_seed: options.SplitSeedOption = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Number of seeds: 0, 1, … The split stays.")] = 5,
    jobs: options.JobsOption = 1,
    normalise: options.NormaliseOption = "speaker",
    max_epochs: options.MaxEpochsOption = 100,
    patience: options.PatienceOption = 12,
    batch_size: options.BatchSizeOption = 32,
    learning_rate: options.LearningRateOption = 0.002,
    features: options.FeaturesOption = "logmel",
    sample_rate: options.SampleRateOption = None,
    yardstick: Annotated[
        bool,
        typer.Option(
            "--yardstick",
            help="Add a linear SVM that sees the same features as means and deviations over each utterance, under the "
            "same protocol.",
        ),
    ] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Add a linear SVM on the features that each trained front end extracts, as means and deviations over "
            "each utterance: what they tell without the rest of the model.",
        ),
    ] = False,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Train every model with every seed on every fold, and print the table of UA recall.

    In every run, smaller classes of the training set are filled up to the size of the largest (section IV-A).

    Each run has a directory of its own under OUT/runs, named by its content: a finished one is never done twice, and an
    interrupted comparison continues with the same command. The table (models × UA recall as mean ± standard deviation
    over seeds, folds pooled into one recall per seed; accuracy; parameters; training time of a seed) is also written to
    OUT/table.csv (percent, seconds) and OUT/table.md, with a confusion matrix per model as a picture.
    """
    from convrnn.cli.console import Counter, say
    from convrnn.cli.prepare import default_split, extract, feature_config, open_task, use_cache
    from convrnn.cli.progress import train_all
    from convrnn.corpora.splits import make_splits, save_splits
    from convrnn.experiments.compare import caption, outcomes, plan
    from convrnn.experiments.table import Table, summarise
    from convrnn.features.config import FEATURES
    from convrnn.files import write_atomically
    from convrnn.models.presets import FRONT_ENDS, SETTINGS
    from convrnn.training.spec import TrainingConfig

    options.choose_folder("--out", out)
    chosen = options.choose_several("--models", models, FRONT_ENDS)
    options.choose("--setting", setting, SETTINGS)
    options.choose("--features", features, FEATURES)
    policy = options.choose_policy(normalise)
    if yardstick:
        from convrnn.experiments.yardstick import check_policy

        check_policy(policy)
    cache_dir = use_cache(cache)
    data = open_task(corpus, task)
    split = split or default_split(data)
    splits = make_splits(data, task, split, seed=split_seed)
    runs = plan(
        data,
        task,
        splits,
        models=chosen,
        setting=setting,
        seeds=range(seeds),
        features=feature_config(data, task, sample_rate, features),
        normalise=policy,
        training=TrainingConfig(max_epochs=max_epochs, patience=patience, batch_size=batch_size, lr=learning_rate),
    )
    request = _request(runs, split, yardstick=yardstick, probe=probe)
    _refuse_another_experiment(out, request, splits)
    save_splits(splits, out / "split.json")
    write_atomically(out / "compare.json", json.dumps(request, indent=2) + "\n")
    runs_dir = out / "runs"
    if yardstick or probe or not all(run.finished(runs_dir) for run in runs):
        store = extract(data, runs[0].spec.features, cache_dir, jobs)
    finished = train_all(runs, data, cache_dir, runs_dir, jobs)
    found = outcomes(runs, finished)
    if probe or yardstick:
        from convrnn.experiments.probe import linear_probe
        from convrnn.experiments.yardstick import linear_svm

        arrays = [store.load(segment) for segment in data.segments()]
        if probe:
            with Counter("probes") as counter:
                found += linear_probe(runs, finished, data, arrays, on_progress=counter)
        if yardstick:
            say("linear SVM")
            found += linear_svm(arrays, data, task, splits, normalise=policy, seeds=range(seeds))
    classes = data.classes(task)
    table = Table(tuple(summarise(found, classes)), classes, caption(data, task, split, runs))
    table.save(out)
    _save_pictures(out, table, f"{_short(data.name)}, {task}")
    if as_json:
        typer.echo(table.to_json())
    else:
        _show(table, out)


def _request(runs: "list[GridRun]", split: str, *, yardstick: bool, probe: bool) -> dict[str, Any]:
    """What was asked for and which run directories answer it."""
    spec = runs[0].spec
    return {
        "command": ["convrnn", *sys.argv[1:]],
        "convrnn": version("convrnn"),
        "corpus": spec.corpus,
        "fingerprint": spec.fingerprint,
        "task": spec.task,
        "classes": spec.classes,
        "setting": spec.setting,
        "split": split,
        "normalise": spec.normalise,
        "features": spec.features.model_dump(mode="json"),
        "training": spec.training.model_dump(mode="json"),
        "yardstick": yardstick,
        "probe": probe,
        "runs": [
            {"model": run.spec.model_name, "seed": run.spec.seed, "split": run.spec.split.name, "hash": run.spec.hash}
            for run in runs
        ],
    }


def _refuse_another_experiment(out: Path, request: dict[str, Any], splits: "list[Split]") -> None:
    """Refuse a folder whose table and pictures are of another experiment, which would be lost or mixed with these.

    Other models, seeds and epochs are the same experiment.

    Raises:
        InputError: naming what differs.
    """
    from convrnn.corpora.splits import load_splits

    path, split = out / "compare.json", out / "split.json"
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name in EXPERIMENT if before[name] != request[name]]
        # The fingerprint is also that of the task's labels.
        if "task" in different and before["corpus"] == request["corpus"]:
            different.remove("fingerprint")
        told = [_difference(name, before, request) for name in different]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is damaged; choose another --out, or delete the file") from error
    if not told and split.exists() and load_splits(split) != splits:
        told = [_difference("split", before, request)]
    if told:
        raise InputError(f"--out {out} holds another comparison: {', '.join(told)}; choose another --out")


def _difference(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    """What an experiment was, and what it is now."""
    name = "corpus" if name == "fingerprint" else name
    old, new = (_features(it[name]) if name == "features" else it[name] for it in (before, now))
    return f"{name} {old} (now {new})" if old != new else f"{name} {old} (now with other content)"


def _features(config: dict[str, Any]) -> str:
    """A config of features in short."""
    from pydantic import TypeAdapter

    from convrnn.features.config import FeatureConfig

    features: FeatureConfig = TypeAdapter(FeatureConfig).validate_python(config)
    return f"{features.name} at {features.sample_rate} Hz"


def _short(corpus: str) -> str:
    """The last part of a corpus's name."""
    return PurePath(corpus.rpartition(":")[2]).name.removesuffix(".csv")


def _save_pictures(out: Path, table: "Table", what: str) -> None:
    from convrnn.experiments.figures import confusion_figure, save_figure

    for row in table.rows:
        seeds = f"{row.seeds} seed{'s' if row.seeds > 1 else ''}"
        title = f"{row.model} on {what}\nUA recall {row.ua_recall_mean:.1f} %, {seeds}"
        name = row.model.lower().replace(" ", "-")
        save_figure(confusion_figure(row.confusion, table.classes, title), out / f"confusion-{name}.png")


def _show(table: "Table", out: Path) -> None:
    from convrnn.cli.console import result_grid, results
    from convrnn.experiments.table import format_recall, format_seconds

    grid = result_grid("model", "UA recall [%]", "accuracy [%]", "parameters", "training time", "seeds")
    for row in table.rows:
        grid.add_row(
            row.model,
            format_recall(row),
            f"{row.accuracy:.1f}",
            f"{row.parameters:,}",
            format_seconds(row.seconds),
            str(row.seeds),
            style="bold" if table.is_best(row) else None,
        )
    stdout = results()
    stdout.print(grid)
    stdout.print(table.caption, markup=False)
    stdout.print(
        f"Files: {out}/table.csv, table.md, confusion-<model>.png; runs and models in {out}/runs", markup=False
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(compare), epilog=_EXAMPLES)(compare)
