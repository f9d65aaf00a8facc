"""``convrnn compare``: the paper's comparison on a corpus."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options
from convrnn.experiments.arguments import SEEDS
from convrnn.training.config import DEFAULTS

if TYPE_CHECKING:
    from convrnn.experiments.comparison import Comparison

_EXAMPLES = options.examples(
    "convrnn compare demo --task gender --setting paralinguistic --seeds 1 --max-epochs 15 --out demo-results",
    "convrnn compare csv:data.csv --task emotion --split folds:5 --seeds 5 --jobs 2 --out results",
    "convrnn compare emodb:emodb --task emotion --split loso --models baseline,clstm --svm-baseline --out results",
)


def compare(
    corpus: options.CorpusArgument,
    task: options.TaskOption,
    out: options.OutOption,
    models: options.ModelsOption = None,
    setting: options.SettingOption = "emotion",
    split: options.SplitOption = "",
    split_seed: options.SplitSeedOption = 0,
    seeds: options.SeedsOption = SEEDS,
    jobs: options.JobsOption = 1,
    cluster: options.ClusterOption = None,
    device: options.DeviceOption = "auto",
    precision: options.PrecisionOption = "32",
    devices: options.DevicesOption = 1,
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
    svm_baseline: options.SvmBaselineOption = False,
    yardstick: Annotated[bool, typer.Option("--yardstick", hidden=True)] = False,
    probe: options.ProbeOption = False,
    cache: options.CacheOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """Train every model with every seed on every fold, and print a table of their UA recall.

    The recordings are checked first, as by `convrnn check`; an error stops the command.

    In every run, examples of the smaller training classes are repeated until all classes are equally large (section
    IV-A).

    Each run has its own directory in OUT/runs. Finished runs are never repeated, and the same command continues an
    interrupted comparison. The table is also written to OUT/table.csv (percent, seconds) and OUT/table.md: UA recall as
    mean ± standard deviation over seeds (all folds of a seed pooled), accuracy, parameters and training time of a seed.
    There is a picture of each model's confusion matrix. OUT/report.html, .md, .csv and .tex add 95 % confidence
    intervals over speakers, paired tests against the standard convolution, learning curves and the recall of each
    speaker. All of them cover everything compared in OUT so far: further models and seeds are added; a comparison with
    other settings needs another folder.
    """
    from convrnn.cli.console import warn
    from convrnn.cli.progress import ShownProgress
    from convrnn.experiments import compare as run_comparison

    if yardstick:
        warn("--yardstick is now called --svm-baseline; the next release will not know the old name")
    comparison = run_comparison(
        corpus,
        task,
        out=out,
        models=None if models is None else options.names(models),
        setting=setting,
        split=split or None,
        split_seed=split_seed,
        seeds=seeds,
        jobs=jobs,
        cluster=cluster,
        device=device,
        precision=precision,
        devices=devices,
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
        svm_baseline=svm_baseline or yardstick,
        probe=probe,
        cache=cache,
        progress=ShownProgress(),
        command=options.command_line(),
    )
    if as_json:
        facts = {**json.loads(comparison.results.summary().to_json()), **comparison.provisos.to_dict()}
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(comparison)


def _show(comparison: "Comparison") -> None:
    from convrnn.cli.console import result_grid, results
    from convrnn.experiments.summary import HEADER

    summary, out = comparison.results.summary(), comparison.folder
    grid = result_grid(*HEADER)
    for row in summary.rows:
        grid.add_row(*row.texts(), style="bold" if summary.is_best(row) else None)
    stdout = results()
    stdout.print(grid)
    stdout.print(summary.caption, markup=False)
    stdout.print(
        f"Files: {out}/report.html, .md, .csv, .tex; table.csv, table.md, confusion-<model>.png; runs and models in "
        f"{out}/runs",
        markup=False,
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(help=options.help_of(compare), epilog=_EXAMPLES)(compare)
