"""One run from spec to result: features, training, selection, and the test set once, at the end (section IV)."""

import datetime
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.errors import InputError
from convrnn.features.normalise import Normaliser
from convrnn.features.store import FeatureStore
from convrnn.files import writing
from convrnn.models.bundle import Bundle, BundleConfig, StatisticsConfig
from convrnn.models.classifier import SequenceClassifier
from convrnn.ops import dispatch
from convrnn.training import checkpoint
from convrnn.training.checkpoint import TrainingState
from convrnn.training.curves import draw_curves
from convrnn.training.data import Examples
from convrnn.training.environment import environment
from convrnn.training.epochs import EpochReport
from convrnn.training.evaluate import predictions_csv, predictions_table, score
from convrnn.training.learner import Learner
from convrnn.training.loop import StepReport, train
from convrnn.training.placement import Placement
from convrnn.training.ranks import on_every_rank
from convrnn.training.result import RunResult, backends, device_name, versions
from convrnn.training.run_directory import BEST, CHECKPOINT, CURVES, METRICS, PREDICTIONS, SPEC, RunDirectory
from convrnn.training.spec import PROTOCOL_VERSION, RunSpec, split_rows


def run(
    spec: RunSpec,
    corpus: LabelledCorpus,
    *,
    cache_dir: Path,
    runs_dir: Path,
    index: int | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_step: Callable[[StepReport], None] | None = None,
) -> RunResult:
    """Trains and tests one model, or returns the result of the run if it is already finished.

    Works in ``<runs_dir>/<spec.hash>.partial``, renamed to ``<runs_dir>/<spec.hash>`` when finished. A killed run
    continues after its last finished epoch and gives the same numbers as an uninterrupted one. The same spec gives
    bitwise the same numbers in any process with the same software and processor.

    Args:
        spec: The run; :func:`convrnn.training.spec.make_spec` makes one.
        corpus: The corpus that the spec was made for.
        cache_dir: Features are read from its folder ``features``; missing ones are extracted into it.
        runs_dir: Folder of all runs.
        index: Number of the GPU, if the spec's device is one; by default the first.
        on_epoch: Called after every epoch, once its files are written.
        on_step: Called after every training step.

    Raises:
        InputError: The corpus is not the spec's, a recording cannot be used, the device does not exist, another process
            works on the run, or the folder cannot be written.
        NonFiniteLossError: The loss is infinite or not a number.
        WorkFailedError: One of several devices failed.
        KeyboardInterrupt: Ctrl-C; the run can be continued.
    """
    directory = RunDirectory(Path(runs_dir), spec.hash)
    if directory.finished:
        return RunResult.load(directory.final)
    _check(spec, corpus)
    with directory.locked():
        if directory.finished:
            return RunResult.load(directory.final)
        directory.write(SPEC, spec.model_dump_json(indent=2) + "\n")
        new = _Run(spec, corpus, Path(cache_dir), directory, index)
        with new.environment(), dispatch.record():
            result = new.execute(on_epoch, on_step)
        directory.finish(result.model_dump(mode="json"))
    return RunResult.load(directory.final)


def _check(spec: RunSpec, corpus: LabelledCorpus) -> None:
    if spec.protocol_version != PROTOCOL_VERSION:
        raise InputError(
            f"the run's spec has protocol version {spec.protocol_version}; this convrnn runs version {PROTOCOL_VERSION}"
        )
    Placement.of(spec.device, devices=spec.devices)
    is_same = (corpus.task, corpus.classes) == (spec.task, spec.classes)
    if not is_same or corpus.compute_fingerprint() != spec.fingerprint:
        raise InputError(f"{corpus.name}: is not the data for which the run's spec was made ({spec.corpus})")


class _Run:
    """A run that is not finished yet."""

    def __init__(
        self, spec: RunSpec, corpus: LabelledCorpus, cache_dir: Path, directory: RunDirectory, index: int | None
    ) -> None:
        self._spec = spec
        self._index = index
        self._corpus = corpus
        self._directory = directory
        self._store = FeatureStore(cache_dir / "features", spec.features)
        self._rows = split_rows(corpus, spec.split)
        self._segments = corpus.segments()
        self._speakers: list[str] = corpus.table["speaker"].tolist()
        self._labels = corpus.class_indices
        self._normaliser = Normaliser(spec.normalise)

    def environment(self) -> AbstractContextManager[None]:
        """The settings of the process in which it trains."""
        return environment(device=self._spec.device, threads=self._spec.threads, precision=self._spec.precision)

    def execute(
        self, on_epoch: Callable[[EpochReport], None] | None, on_step: Callable[[StepReport], None] | None
    ) -> RunResult:
        # The test set is included, so that an unreadable recording is reported now and not after hours of training.
        self._store.extract([self._segments[row] for rows in self._rows.values() for row in rows])
        if self._spec.devices == 1:
            return self._test(self.train(on_epoch, on_step))

        def on_report(report: object) -> None:
            if isinstance(report, EpochReport) and on_epoch is not None:
                on_epoch(report)
            elif isinstance(report, StepReport) and on_step is not None:
                on_step(report)

        on_every_rank(_train_as_rank, self, self._spec.devices, on_report)
        state = checkpoint.resume(self._directory.partial / CHECKPOINT)
        self._normaliser.fit(self._features("train"))
        return self._test(state)

    def _features(self, part: str) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
        return [self._store.load(self._segments[row]) for row in self._rows[part]]

    def _examples(self, part: str) -> Examples:
        rows = self._rows[part]
        features = self._features(part)
        if part == "train":
            self._normaliser.fit(features)
        speakers = [self._speakers[row] for row in rows]
        return Examples(self._normaliser.transform(features, speakers), self._labels[rows])

    def train(
        self,
        on_epoch: Callable[[EpochReport], None] | None,
        on_step: Callable[[StepReport], None] | None,
        *,
        rank: int = 0,
    ) -> TrainingState:
        """Trains the model, from where it was interrupted; only rank 0 writes files."""
        training_set, validation_set = self._examples("train"), self._examples("validation")
        spec = self._spec
        learner = Learner(
            spec.model,
            spec.training,
            seed=spec.seed,
            device=spec.device,
            precision=spec.precision,
            index=self._index,
            devices=spec.devices,
        )
        state = TrainingState()
        path = self._directory.partial / CHECKPOINT
        if path.exists():
            state = checkpoint.resume(path, learner)
        if rank == 0:
            self._restore(state)

        def save() -> None:
            if rank > 0:
                return
            checkpoint.save(path, learner, state)
            self._directory.append_json(METRICS, asdict(state.reports[-1]))
            if state.reports[-1].is_best:
                self._save_best(state.best_model)

        train(
            learner,
            training_set,
            validation_set,
            state,
            save,
            config=spec.training,
            seed=spec.seed,
            balanced=spec.balance,
            on_epoch=on_epoch,
            on_step=on_step,
        )
        return state

    def _restore(self, state: TrainingState) -> None:
        """Makes ``metrics.jsonl`` and ``best`` match the checkpoint; a killed run may leave them an epoch apart."""
        lines = [json.dumps(asdict(report), allow_nan=False) + "\n" for report in state.reports]
        self._directory.write(METRICS, "".join(lines))
        if state.reports:
            self._save_best(state.best_model)

    def _test(self, state: TrainingState) -> RunResult:
        spec = self._spec
        test = self._examples("test")
        bundle = self._bundle(state.best_model)
        bundle.model.to(str(Placement(spec.device, self._index)))
        log_probs = bundle.log_probabilities(test.features, batch_size=spec.training.batch_size)
        if not np.isfinite(log_probs).all():
            raise RuntimeError("the selected model's log-probabilities on the test set are not finite")
        table = predictions_table(self._corpus, self._rows["test"], spec.classes, log_probs)
        scores = score(table, spec.classes)
        best = state.best
        assert best is not None  # at least one epoch is trained
        title = f"{spec.model_name}, {spec.setting}, {spec.task}, {spec.split.name}, seed {spec.seed}"
        self._directory.write(CURVES, draw_curves(state.reports, title))
        self._directory.write(PREDICTIONS, predictions_csv(table))
        return RunResult(
            hash=spec.hash,
            classes=spec.classes,
            ua_recall=scores.ua_recall,
            accuracy=scores.accuracy,
            recalls=dict(zip(spec.classes, scores.recalls, strict=True)),
            confusion=scores.confusion,
            validation_misclassification=best.validation_misclassification,
            best_epoch=best.epoch,
            epochs=len(state.reports),
            seconds=sum(report.seconds for report in state.reports),
            parameters=sum(parameter.numel() for parameter in bundle.model.parameters()),
            versions=versions(spec.features),
            device_name=device_name(spec.device, self._index, spec.devices),
            backends=backends(),
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            directory=self._directory.partial,
        )

    def _bundle(self, state_dict: dict[str, Tensor]) -> Bundle:
        spec, statistics = self._spec, self._normaliser.statistics
        model = SequenceClassifier(spec.model)
        model.load_state_dict(state_dict)
        config = BundleConfig(
            task=spec.task,
            classes=spec.classes,
            model=spec.model,
            features=spec.features,
            normalise=spec.normalise,
            statistics=None
            if statistics is None
            else StatisticsConfig(mean=tuple(statistics.mean.tolist()), std=tuple(statistics.std.tolist())),
            name=spec.model_name,
            setting=spec.setting,
            corpus=spec.corpus,
        )
        return Bundle(config, model)

    def _save_best(self, state_dict: dict[str, Tensor]) -> None:
        path = self._directory.partial / BEST
        with writing(path):
            self._bundle(state_dict).save(path)


def _train_as_rank(run: _Run, rank: int, report: Callable[[object], None]) -> None:
    """Trains a run's model together with other processes."""
    with run.environment():
        run.train(report, report, rank=rank)
