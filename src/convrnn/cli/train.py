"""``convrnn train``: one model on one split."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convrnn.cli import options
from convrnn.training.config import DEFAULTS

if TYPE_CHECKING:
    from convrnn.experiments.single import TrainedModel

_EXAMPLES = options.examples(
    "convrnn train csv:data.csv --task emotion --model clstm --split random --out runs",
    "convrnn train emodb:emodb --task emotion --model conv --split folds:5 --fold 2 --seed 1 --out runs",
)


def train(
    corpus: options.CorpusArgument,
    task: options.TaskOption,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of runs; each gets its own directory in it.", show_default=False)
    ],
    model: Annotated[str, typer.Option("--model", help="A front end; `convrnn models` lists all.")] = "clstm",
    setting: options.SettingOption = "emotion",
    split: options.SplitOption = "",
    split_seed: options.SplitSeedOption = 0,
    fold: options.FoldOption = None,
    seed: options.SeedOption = 0,
    normalise: options.NormaliseOption = "speaker",
    max_epochs: options.MaxEpochsOption = DEFAULTS.max_epochs,
    patience: options.PatienceOption = DEFAULTS.patience,
    batch_size: options.BatchSizeOption = DEFAULTS.batch_size,
    learning_rate: options.LearningRateOption = DEFAULTS.lr,
    features: options.FeaturesOption = None,
    window_ms: options.WindowOption = None,
    sample_rate: options.SampleRateOption = None,
    same_speaker: options.SameSpeakerOption = None,
    drop_duplicates: options.DropDuplicatesOption = False,
    accept: options.AcceptOption = None,
    jobs: options.JobsOption = 1,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "32",
    devices: options.DevicesOption = 1,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Train one model on one split, test it once, and print the result and where the model is saved.

    The recordings are checked first, as by `convrnn check`; an error stops the command.

    Examples of the smaller training classes are repeated until all classes are equally large (section IV-A).

    The run has its own directory in OUT, named by a hash of its settings and data. A finished run is never repeated,
    and the same command continues an interrupted one. The directory holds the saved model `best` for `convrnn evaluate`
    and `convrnn predict`, the predictions on the test set, and the metrics of every epoch with a picture of them.
    """
    from convrnn.cli.progress import ShownProgress
    from convrnn.experiments import train as train_model

    trained = train_model(
        corpus,
        task,
        out=out,
        model=model,
        setting=setting,
        split=split or None,
        split_seed=split_seed,
        fold=fold,
        seed=seed,
        normalise=normalise,
        max_epochs=max_epochs,
        patience=patience,
        batch_size=batch_size,
        learning_rate=learning_rate,
        features=features,
        window_ms=window_ms,
        sample_rate=sample_rate,
        same_speaker=same_speaker or (),
        drop_duplicates=drop_duplicates,
        accept=accept or (),
        jobs=jobs,
        device=device,
        precision=precision,
        devices=devices,
        cache=cache,
        progress=ShownProgress(every_epoch=True),
    )
    typer.echo(json.dumps(_facts(trained), indent=2) if as_json else "\n".join(_lines(trained, corpus)))


def _facts(trained: "TrainedModel") -> dict[str, Any]:
    from convrnn.features.base import AudioFeatures

    result, spec = trained.result, trained.run.spec
    return {
        "model": spec.model_name,
        "setting": spec.setting,
        "task": spec.task,
        "split": spec.split.name,
        "seed": spec.seed,
        "ua_recall": result.ua_recall,
        "accuracy": result.accuracy,
        "best_epoch": result.best_epoch,
        "epochs": result.epochs,
        "parameters": result.parameters,
        "seconds": result.seconds,
        "synthetic": trained.data.synthetic,
        **({"sample_rate": spec.features.sample_rate} if isinstance(spec.features, AudioFeatures) else {}),
        **trained.provisos.to_dict(),
        "bundle": str(trained.path),
    }


def _lines(trained: "TrainedModel", corpus: str) -> list[str]:
    from convrnn.experiments.report.numbers import format_seconds

    result, spec = trained.result, trained.run.spec
    recall = (
        "undefined, since a class has no test example"
        if result.ua_recall is None
        else f"{100 * result.ua_recall:.2f} %"
    )
    speech = " (synthetic speech)" if trained.data.synthetic else ""
    return [
        f"{trained.run} on {corpus}{speech}, task {spec.task}, split {spec.split.name}, setting {spec.setting}",
        f"UA recall      {recall}",
        f"accuracy       {100 * result.accuracy:.2f} %",
        f"epochs         {result.epochs}, best {result.best_epoch}",
        f"parameters     {result.parameters:,}",
        f"training time  {format_seconds(result.seconds)}",
        f"saved model    {trained.path}",
        *trained.provisos.sentences(),
    ]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(train), epilog=_EXAMPLES)(train)
