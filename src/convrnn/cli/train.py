"""``convrnn train``: one model on one split."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options
from convrnn.errors import InputError

if TYPE_CHECKING:
    from convrnn.corpora.splits import Split

_EXAMPLES = options.examples(
    "convrnn train csv:data.csv --task emotion --model clstm --split random --out runs",
    "convrnn train emodb:emodb --task emotion --model conv --split folds:5 --fold 2 --seed 1 --out runs",
)


def train(
    corpus: options.CorpusArgument,
    task: options.TaskOption,
    out: Annotated[Path, typer.Option("--out", help="Folder of runs; this one is a folder in it.", show_default=False)],
    model: Annotated[str, typer.Option("--model", help="A front end; `convrnn models` lists all.")] = "clstm",
    setting: options.SettingOption = "emotion",
    split: options.SplitOption = "",
    split_seed: options.SplitSeedOption = 0,
    fold: options.FoldOption = None,
    seed: options.SeedOption = 0,
    normalise: options.NormaliseOption = "speaker",
    max_epochs: options.MaxEpochsOption = 100,
    patience: options.PatienceOption = 12,
    batch_size: options.BatchSizeOption = 32,
    learning_rate: options.LearningRateOption = 0.002,
    features: options.FeaturesOption = "logmel",
    sample_rate: options.SampleRateOption = None,
    same_speaker: options.SameSpeakerOption = None,
    drop_duplicates: options.DropDuplicatesOption = False,
    accept: options.AcceptOption = None,
    jobs: options.JobsOption = 1,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Train one model on one split, test it once, and print the result and where the trained model lies.

    Before any work the recordings are checked as by `convrnn check`; an error stops the command.

    Smaller classes of the training set are filled up to the size of the largest (section IV-A).

    The run's directory in OUT is named by its content; a finished run is not done twice, and an interrupted one
    continues with the same command. It holds the model as the bundle `best`, which `convrnn evaluate` and
    `convrnn predict` take, predictions on the test set, the metrics of every epoch and a picture of them.
    """
    from convrnn.cli.prepare import default_split, extract, feature_config, ready_features, tell_rate, use_cache
    from convrnn.cli.progress import train_all
    from convrnn.cli.rows import RowOptions, check_rows, open_task
    from convrnn.corpora.splits import make_splits
    from convrnn.experiments.compare import GridRun
    from convrnn.experiments.table import format_seconds
    from convrnn.features.config import FEATURES
    from convrnn.models.presets import FRONT_ENDS, SETTINGS
    from convrnn.training.run_directory import BEST
    from convrnn.training.spec import TrainingConfig, make_spec

    options.choose_folder("--out", out)
    options.choose("--model", model, FRONT_ENDS)
    options.choose("--setting", setting, SETTINGS)
    options.choose("--features", features, FEATURES)
    policy = options.choose_policy(normalise)
    chosen = RowOptions.of(same_speaker, accept, drop_duplicates=drop_duplicates)
    ready_features(features, sample_rate)
    cache_dir = use_cache(cache)
    data, provisos = open_task(corpus, task, chosen, cache_dir, jobs)
    split = split or default_split(data)
    splits = make_splits(data, task, split, seed=split_seed)
    number = _choose_fold(split, splits, fold)
    provisos = check_rows(data, task, [splits[number]], chosen, provisos, cache_dir, jobs)
    config = feature_config(data, task, sample_rate, features)
    tell_rate(data, task, config.sample_rate, given=sample_rate is not None)
    spec = make_spec(
        data,
        task,
        splits[number],
        front_end=model,
        setting=setting,
        features=config,
        normalise=policy,
        training=TrainingConfig(max_epochs=max_epochs, patience=patience, batch_size=batch_size, lr=learning_rate),
        seed=seed,
    )
    run = GridRun(spec, number, len(splits))
    if not run.finished(out):
        extract(data, spec.features, cache_dir, jobs)
    [finished] = train_all([run], data, cache_dir, out, 1, every_epoch=True)
    result = finished.result
    bundle = result.directory / BEST
    if as_json:
        facts = {
            "model": model,
            "setting": setting,
            "task": task,
            "split": spec.split.name,
            "seed": seed,
            "ua_recall": result.ua_recall,
            "accuracy": result.accuracy,
            "best_epoch": result.best_epoch,
            "epochs": result.epochs,
            "parameters": result.parameters,
            "seconds": result.seconds,
            "synthetic": data.synthetic,
            "sample_rate": config.sample_rate,
            **provisos.to_dict(),
            "bundle": str(bundle),
        }
        typer.echo(json.dumps(facts, indent=2))
        return
    recall = "undefined, a class has no test example" if result.ua_recall is None else f"{100 * result.ua_recall:.2f} %"
    speech = " (synthetic speech)" if data.synthetic else ""
    typer.echo(f"{run} on {corpus}{speech}, task {task}, split {spec.split.name}, setting {setting}")
    typer.echo(f"UA recall      {recall}")
    typer.echo(f"accuracy       {100 * result.accuracy:.2f} %")
    typer.echo(f"epochs         {result.epochs}, best {result.best_epoch}")
    typer.echo(f"parameters     {result.parameters:,}")
    typer.echo(f"training time  {format_seconds(result.seconds)}")
    typer.echo(f"bundle         {bundle}")
    for sentence in provisos.sentences():
        typer.echo(sentence)


def _choose_fold(split: str, splits: "list[Split]", fold: int | None) -> int:
    """The position of the fold to train on."""
    if fold is None and len(splits) > 1:
        raise InputError(f"--split {split} has {len(splits)} folds; choose one with --fold, 1 to {len(splits)}")
    if fold is not None and fold > len(splits):
        raise InputError(f"--fold {fold}: --split {split} has {len(splits)} fold{'s' if len(splits) > 1 else ''}")
    return (fold or 1) - 1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(train), epilog=_EXAMPLES)(train)
