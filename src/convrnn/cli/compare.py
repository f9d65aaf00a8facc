"""``convrnn compare``: the paper's comparison on a corpus."""

import json
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from convrnn.cli import options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convrnn.corpora.corpus import Corpus
    from convrnn.corpora.splits import Split
    from convrnn.experiments.compare import FinishedRun, GridRun
    from convrnn.experiments.folder import Comparison
    from convrnn.experiments.table import Outcome, Table

_EXAMPLES = options.examples(
    "convrnn compare demo --task gender --setting paralinguistic --seeds 1 --max-epochs 15 --out demo-results",
    "convrnn compare csv:data.csv --task emotion --split folds:5 --seeds 5 --jobs 2 --out results",
    "convrnn compare emodb:emodb --task emotion --split loso --models baseline,clstm --yardstick --out results",
)

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
    seeds: options.SeedsOption = 5,
    jobs: options.JobsOption = 1,
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

    Before any work the recordings are checked as by `convrnn check`; an error stops the command.

    In every run, smaller classes of the training set are filled up to the size of the largest (section IV-A).

    Each run has a directory of its own under OUT/runs, named by its content: a finished one is never done twice, and an
    interrupted comparison continues with the same command. The table (models × UA recall as mean ± standard deviation
    over seeds, folds pooled into one recall per seed; accuracy; parameters; training time of a seed) is also written to
    OUT/table.csv (percent, seconds) and OUT/table.md, with a confusion matrix per model as a picture. It has all
    that was asked for in OUT: other models or seeds are added to it, and another experiment needs another folder.
    """
    from convrnn.cli.prepare import default_split, extract, feature_config, ready_features, tell_rate, use_cache
    from convrnn.cli.progress import train_all
    from convrnn.cli.rows import RowOptions, check_rows, open_task
    from convrnn.corpora.splits import make_splits
    from convrnn.experiments.compare import caption, check_test_classes, outcomes, plan
    from convrnn.experiments.figures import save_pictures
    from convrnn.experiments.folder import RUNS, Comparison, open_folder, recorded, with_earlier_runs
    from convrnn.experiments.table import Table, summarise
    from convrnn.features.config import FEATURES
    from convrnn.features.store import FeatureStore
    from convrnn.models.presets import FRONT_ENDS, SETTINGS
    from convrnn.training.spec import TrainingConfig

    options.choose_folder("--out", out)
    names = options.choose_several("--models", models, FRONT_ENDS)
    options.choose("--setting", setting, SETTINGS)
    options.choose("--features", features, FEATURES)
    policy = options.choose_policy(normalise)
    chosen = RowOptions.of(same_speaker, accept, drop_duplicates=drop_duplicates)
    if yardstick:
        from convrnn.experiments.yardstick import check_policy

        check_policy(policy)
    ready_features(features, sample_rate)
    cache_dir = use_cache(cache)
    data, provisos = open_task(corpus, task, chosen, cache_dir, jobs)
    split = split or default_split(data)
    splits = make_splits(data, task, split, seed=split_seed)
    check_test_classes(data, task, splits)
    provisos = check_rows(data, task, splits, chosen, provisos, cache_dir, jobs)
    config = feature_config(data, task, sample_rate, features)
    tell_rate(data, task, config.sample_rate, given=sample_rate is not None)
    runs = plan(
        data,
        task,
        splits,
        models=names,
        setting=setting,
        seeds=range(seeds),
        features=config,
        normalise=policy,
        training=TrainingConfig(max_epochs=max_epochs, patience=patience, batch_size=batch_size, lr=learning_rate),
    )
    asked = Comparison.of(runs, split, provisos, yardstick=yardstick, probe=probe)
    folder = open_folder(out, asked, runs, splits)
    grid: list[GridRun] = []
    finished: list[FinishedRun] = []
    # Another command may have finished runs in the same folder meanwhile.
    while (whole := with_earlier_runs(runs, folder.runs, out / RUNS)) != grid:
        if folder.yardstick or folder.probe or not all(run.finished(out / RUNS) for run in whole):
            extract(data, config, cache_dir, jobs)
        grid, finished = whole, train_all(whole, data, cache_dir, out / RUNS, jobs)
        folder = recorded(out)
    found = outcomes(grid, finished)
    if folder.probe or folder.yardstick:
        store = FeatureStore(cache_dir / "features", config)
        arrays = [store.load(segment) for segment in data.segments()]
        found += _linear_machines(folder, grid, finished, data, arrays, splits)
    classes = data.classes(task)
    table = Table(tuple(summarise(found, classes)), classes, caption(data, task, split, grid, provisos.sentences()))
    table.save(out)
    save_pictures(out, table, f"{PurePath(corpus.rpartition(':')[2]).name.removesuffix('.csv')}, {task}")
    if as_json:
        typer.echo(json.dumps({**json.loads(table.to_json()), **provisos.to_dict()}, indent=2))
    else:
        _show(table, out)


def _linear_machines(
    folder: "Comparison",
    grid: "list[GridRun]",
    finished: "list[FinishedRun]",
    data: "Corpus",
    arrays: "list[NDArray[np.float32]]",
    splits: "list[Split]",
) -> "list[Outcome]":
    """The rows of the table that no network is trained for."""
    from convrnn.cli.console import Counter, say
    from convrnn.experiments.probe import linear_probe
    from convrnn.experiments.yardstick import linear_svm

    found = []
    if folder.probe:
        with Counter("probes") as counter:
            found += linear_probe(grid, finished, data, arrays, on_progress=counter)
    if folder.yardstick:
        say("linear SVM")
        spec = grid[0].spec
        seeds = sorted({run.spec.seed for run in grid})
        found += linear_svm(arrays, data, spec.task, splits, normalise=spec.normalise, seeds=seeds)
    return found


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
