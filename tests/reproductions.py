"""Reproduced tables from run directories that the project's own classes write, without any training."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd

from convrnn.corpora.splits import Split
from convrnn.experiments.grid import FinishedRun, GridRun, outcomes
from convrnn.experiments.paper import TABLES, Column
from convrnn.experiments.results import Experiment, Results
from convrnn.features.logmel import LogMelConfig
from convrnn.files import remove
from convrnn.models.presets import preset
from convrnn.training.config import TrainingConfig
from convrnn.training.epochs import EpochReport
from convrnn.training.evaluate import predictions_csv
from convrnn.training.metrics import Scores
from convrnn.training.result import RunResult
from convrnn.training.run_directory import RunDirectory
from convrnn.training.spec import RunSpec

CLASSES = {
    "emotion2": ("NEG", "IDL"),
    "emotion5": ("A", "E", "N", "P", "R"),
    "age": ("child", "youth", "adult", "senior"),
    "gender": ("child", "female", "male"),
}


def utterances(generator, classes, speakers, per_speaker):
    """Speaker and label of test utterances; each speaker has every class at least once."""
    said_by = np.repeat(speakers, per_speaker)
    labels = np.array([classes[number % len(classes)] for number in range(per_speaker)] * len(speakers))
    extra = generator.random(len(labels)) < 0.3
    labels[extra] = generator.choice(classes, extra.sum())
    return said_by.tolist(), labels.tolist()


def write_run(folder, spec, speakers, truth, prediction, reports, *, seconds=2.0):
    """Writes the directory of a finished run in the form that training leaves."""
    directory = RunDirectory(folder, spec.hash)
    number = {name: index for index, name in enumerate(spec.classes)}
    scores = Scores.of([number[label] for label in truth], [number[label] for label in prediction], len(number))
    best = max((report for report in reports if report.is_best), key=lambda report: report.epoch)
    result = RunResult(
        hash=spec.hash,
        classes=spec.classes,
        ua_recall=scores.ua_recall,
        accuracy=scores.accuracy,
        recalls=dict(zip(spec.classes, scores.recalls, strict=True)),
        confusion=scores.confusion,
        validation_misclassification=best.validation_misclassification,
        best_epoch=best.epoch,
        epochs=len(reports),
        seconds=seconds,
        parameters=123_456,
        versions={"convrnn": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
        device_name="A processor <of 2026>",
        finished="2026-03-01T12:00:00+00:00",
        directory=directory.final,
    )
    table = pd.DataFrame({"id": range(len(truth)), "speaker": speakers, "label": truth, "prediction": prediction})
    remove(directory.final)
    with directory.locked():
        directory.write("spec.json", spec.model_dump_json())
        directory.write("predictions.csv", predictions_csv(table))
        directory.write("metrics.jsonl", "".join(json.dumps(asdict(report)) + "\n" for report in reports))
        (directory.partial / "best").mkdir()
        for name in ("last.ckpt", "curves.png", "best/config.json", "best/model.safetensors"):
            directory.write(name, "nobody looks at it here")
        directory.finish(result.model_dump(mode="json"))
    return FinishedRun.read(directory.final, found=False)


def learning(generator, epochs):
    """A falling, noisy curve."""
    rates = np.clip(0.3 + 0.4 * np.exp(-np.arange(epochs) / 5) + 0.03 * generator.standard_normal(epochs), 0, 1)
    lowest = np.minimum.accumulate(rates)
    return [
        EpochReport(
            epoch=index + 1,
            train_loss=float(2 * rate),
            train_misclassification=float(rate / 2),
            validation_loss=float(2 * rate),
            validation_misclassification=float(rate),
            validation_ua_recall=None,
            seconds=1.0,
            is_best=bool(index == 0 or rate < lowest[index - 1]),
        )
        for index, rate in enumerate(rates)
    ]


def spec_of(column, model, seed, split, classes):
    return RunSpec(
        corpus=column.corpus,
        fingerprint="0" * 16,
        task=column.task,
        classes=classes,
        split=split,
        features=LogMelConfig(sample_rate=16000),
        normalise="speaker",
        model_name=model,
        setting=column.setting,
        model=preset(model, column.setting, in_features=26, num_classes=len(classes)),
        training=TrainingConfig(),
        seed=seed,
    )


def experiment(
    folder,
    table,
    column,
    *,
    corpus=None,
    seeds=2,
    folds=1,
    speakers=6,
    per_speaker=12,
    epochs=4,
    synthetic=False,
    classes=None,
):
    """All models of a table on one column, ordered from worst to best."""
    classes = classes or CLASSES.get(column.task, ("no & never", "<yes>"))
    generator = np.random.default_rng([len(column.heading), seeds, folds])
    names = [f"speaker_{number:02}" for number in range(speakers)]
    tested = [names[fold::folds] for fold in range(folds)]
    said = [utterances(generator, classes, part, per_speaker) for part in tested]
    runs, finished = [], []
    for seed in range(seeds):
        for fold in range(folds):
            split = Split(
                f"fold-{fold + 1}-of-{folds}" if folds > 1 else "partitions", ("t1", "t2"), ("v1",), tuple(tested[fold])
            )
            for rank, row in enumerate(table.rows):
                spec = spec_of(column, row.front_end, seed, split, classes)
                said_by, truth = said[fold]
                right = generator.random(len(truth)) < 0.4 + 0.1 * rank
                guess = generator.choice(classes, len(truth))
                prediction = np.where(right, truth, guess).tolist()
                runs.append(GridRun(spec, fold, folds))
                reports = learning(generator, epochs)
                finished.append(
                    write_run(folder, spec, said_by, truth, prediction, reports, seconds=10.0 + seed + rank)
                )
    corpus = corpus or f"{column.corpus}:data_1"
    caption = f"{corpus}, task {column.task}; {seeds} seeds."
    return Experiment(column, corpus, synthetic, classes, caption, tuple(outcomes(runs, finished)))


def reproduction(folder, name, *, columns=None, **options):
    """A table of the paper with runs for all its columns or for the given ones."""
    table = TABLES[name]
    command = ("convrnn", "reproduce", name, "--corpus", "aibo:the data", "--out", "results")
    experiments = [experiment(folder, table, column, **options) for column in columns or table.columns]
    return Results.of(experiments, paper=table, commands=[command])


OTHER = Column("mood & <pitch>_1", "csv", "mood", "emotion")
"""A column that is not the paper's, whose name has characters that the formats have to escape."""
