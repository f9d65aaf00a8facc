"""One run from spec to result: features, training, selection, and the test set once, at the end (section IV)."""

import datetime
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor
from typing_extensions import override

from convrnn.corpora.balancing import balance
from convrnn.corpora.corpus import Corpus
from convrnn.errors import InputError
from convrnn.features.normalise import Normaliser
from convrnn.features.store import FeatureStore
from convrnn.files import write_atomically, writing
from convrnn.models.bundle import Bundle, BundleConfig, StatisticsConfig
from convrnn.models.classifier import SequenceClassifier
from convrnn.training.curves import draw_curves
from convrnn.training.data import EvaluationLoader, Examples, TrainingLoader
from convrnn.training.environment import environment, interruptible
from convrnn.training.epochs import EpochReport
from convrnn.training.evaluate import predictions_csv, predictions_table, score
from convrnn.training.module import ClassifierModule
from convrnn.training.result import RunResult, device_name, versions
from convrnn.training.run_directory import (
    BEST,
    CHECKPOINT,
    CURVES,
    PREDICTIONS,
    SPEC,
    RunDirectory,
)
from convrnn.training.selection import Selection, SelectionState, StepReport, write_state
from convrnn.training.spec import PROTOCOL_VERSION, RunSpec, split_rows


def run(
    spec: RunSpec,
    corpus: Corpus,
    *,
    cache_dir: Path,
    runs_dir: Path,
    on_epoch: Callable[[EpochReport], None] | None = None,
    on_step: Callable[[StepReport], None] | None = None,
) -> RunResult:
    """Trains one model and tests it, or finds that this was done before.

    Works in ``<runs_dir>/<spec.hash>.partial``, renamed to ``<runs_dir>/<spec.hash>`` when finished. A run that was
    killed goes on after its last finished epoch and ends with the numbers it would have had. The same spec gives
    bitwise the same numbers in any process of the same software and processor.

    Args:
        spec: The run; :func:`convrnn.training.spec.make_spec` makes one.
        corpus: The corpus it was made for.
        cache_dir: Features are taken from ``features`` in it, and extracted where they are missing.
        runs_dir: Folder of all runs.
        on_epoch: Called after every epoch, once its files are written.
        on_step: Called after every training step.

    Raises:
        InputError: The corpus is not the spec's, a recording cannot be used, the device does not exist, the run is
            being worked on, or the folder cannot be written.
        NonFiniteLossError: The loss is infinite or not a number.
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
        with environment(spec):
            result = _Run(spec, corpus.for_task(spec.task), Path(cache_dir), directory).execute(on_epoch, on_step)
        directory.finish(result.model_dump(mode="json"))
    return RunResult.load(directory.final)


def _check(spec: RunSpec, corpus: Corpus) -> None:
    if spec.protocol_version != PROTOCOL_VERSION:
        raise InputError(
            f"the run's spec has protocol version {spec.protocol_version}; this convrnn runs version {PROTOCOL_VERSION}"
        )
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': PyTorch finds no GPU here; choose 'cpu'")
    if tuple(corpus.classes(spec.task)) != spec.classes or corpus.fingerprint(spec.task) != spec.fingerprint:
        raise InputError(f"{corpus.name}: is not the data that the run's spec was made for ({spec.corpus})")


class _Run:
    """The steps of a run that is not finished yet."""

    def __init__(self, spec: RunSpec, corpus: Corpus, cache_dir: Path, directory: RunDirectory) -> None:
        self._spec = spec
        self._corpus = corpus
        self._directory = directory
        self._store = FeatureStore(cache_dir / "features", spec.features)
        self._rows = split_rows(corpus, spec.task, spec.split)
        self._segments = corpus.segments()
        self._speakers: list[str] = corpus.table["speaker"].tolist()
        index = {name: i for i, name in enumerate(spec.classes)}
        self._labels = np.array([index[label] for label in corpus.labels(spec.task)], dtype=np.int64)
        self._normaliser = Normaliser(spec.normalise)
        torch.manual_seed(spec.seed)
        self._model = SequenceClassifier(spec.model)

    def execute(
        self, on_epoch: Callable[[EpochReport], None] | None, on_step: Callable[[StepReport], None] | None
    ) -> RunResult:
        # The test recordings too, though they are looked at last: an unreadable one should not show after hours.
        self._store.extract([self._segments[row] for rows in self._rows.values() for row in rows])
        state = self._train(on_epoch, on_step)
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

    def _train(
        self, on_epoch: Callable[[EpochReport], None] | None, on_step: Callable[[StepReport], None] | None
    ) -> SelectionState:
        spec = self._spec
        train, validation = self._examples("train"), self._examples("validation")
        if spec.balance:
            train = train.take(balance(train.labels.tolist(), spec.seed))
        checkpoint = self._directory.partial / CHECKPOINT
        if checkpoint.exists():
            state = _read_state(checkpoint)
            if state.done(max_epochs=spec.training.max_epochs, patience=spec.training.patience):
                write_state(self._directory, state, self._save_best)
                return state
        module = ClassifierModule(
            self._model,
            spec.training,
            lambda epoch: TrainingLoader(train, spec.training.batch_size, seed=spec.seed, epoch=epoch),
            EvaluationLoader(validation, spec.training.batch_size),
        )
        selection = Selection(spec, self._directory, self._save_best, on_epoch, on_step)
        trainer = pl.Trainer(
            accelerator="gpu" if spec.device == "cuda" else "cpu",
            devices=1,
            precision="32-true" if spec.precision == "32" else spec.precision,
            max_epochs=spec.training.max_epochs,
            gradient_clip_val=spec.training.gradient_clip_norm,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            callbacks=[selection],
            # One process, also inside a SLURM or torchrun job, which Lightning would otherwise join.
            plugins=[_CheckpointFile(), LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=self._directory.partial,
        )
        with interruptible():
            trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
        return selection.state

    def _test(self, state: SelectionState) -> RunResult:
        spec = self._spec
        test = self._examples("test")
        bundle = self._bundle(state.best_model)
        bundle.model.to(spec.device)
        log_probs = bundle.log_probabilities(test.features, batch_size=spec.training.batch_size)
        if not np.isfinite(log_probs).all():
            raise RuntimeError("the selected model's log-probabilities on the test set are not finite")
        table = predictions_table(self._corpus, self._rows["test"], spec.task, spec.classes, log_probs)
        scores = score(table, spec.classes)
        best = state.reports[state.best_epoch - 1]
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
            device_name=device_name(spec.device),
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


def _read_state(checkpoint: Path) -> SelectionState:
    try:
        content = _CheckpointFile().load_checkpoint(checkpoint)
        return SelectionState.of(content["callbacks"][Selection.__qualname__])
    except Exception as error:  # a damaged file fails in any way; all mean the same to the user
        raise InputError(
            f"{checkpoint}: is damaged and the run cannot go on from it ({type(error).__name__}); "
            "delete the folder to start the run anew"
        ) from error


class _CheckpointFile(CheckpointIO):
    """Writes checkpoints whole or not at all, and never executes anything from one."""

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        # Into memory first: a full disk shows as an OSError from a plain write, but not from torch's own writer.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

    @override
    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        del weights_only  # nothing else is ever loaded
        data = Path(path).read_bytes()
        # PyTorch writes a CRC-32 of every record, and looks at none when it reads.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{damaged} is not as it was written")
        content: dict[str, Any] = torch.load(io.BytesIO(data), map_location=map_location or "cpu", weights_only=True)
        return content

    @override
    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
