"""The record of a comparison's folder: which experiment it holds, and which runs were requested in it."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from pydantic import ConfigDict, Field

from convrnn.corpora.gate import Provisos
from convrnn.corpora.splits import Split, load_splits, save_splits
from convrnn.errors import Argument, InputError
from convrnn.experiments.grid import GridRun
from convrnn.experiments.record import (
    RUNS,
    Command,
    Parts,
    Record,
    RecordedRun,
    advising,
    difference,
    listed,
    training_differences,
    with_asked,
    with_earlier_runs,
)
from convrnn.features.base import AudioFeatures
from convrnn.features.config import FeatureConfig
from convrnn.files import write_atomically
from convrnn.json_files import read_json, validate
from convrnn.plain_text import encodable
from convrnn.training.config import TrainingConfig

COMPARISON = "compare.json"
"""The record's file."""

SPLITS = "split.json"
"""The file of its splits."""


class ComparisonRecord(Record):
    """The experiment in a comparison's folder and the runs requested in it: the content of ``compare.json``.

    Attributes:
        command: The last command line that added something; empty for a call from Python.
        earlier_commands: Those before it.
        convrnn: The version that ran it.
        corpus: The corpus as the user named it.
        fingerprint: Content hash of the corpus and the task's labels.
        task: Label column.
        classes: Class names.
        setting: ``"emotion"`` or ``"paralinguistic"``.
        split: How the corpus is split, in the user's words.
        normalise: Over which frames features are standardised.
        features: Input features.
        window_ms: Length of the windows on the raw waveform in milliseconds; None for other features.
        training: The optimisation.
        svm_baseline: Whether the table has a row of the linear SVM; called ``yardstick`` in the file.
        probe: Whether it has rows of probes.
        joined_speakers: Pairs of names of one person each.
        dropped_duplicates: Ids of copies that were left out.
        accepted_errors: Kinds of errors in the corpus that were accepted, and how many of each.
        runs: Every model, seed and fold, finished or not.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    command: Command
    earlier_commands: tuple[Command, ...] = ()
    convrnn: str
    corpus: str
    fingerprint: str
    task: str
    classes: tuple[str, ...]
    setting: str
    split: str
    normalise: str
    features: FeatureConfig
    window_ms: float | None = None
    training: TrainingConfig
    svm_baseline: bool = Field(default=False, validation_alias="yardstick", serialization_alias="yardstick")
    probe: bool = False
    joined_speakers: tuple[tuple[str, str], ...] = ()
    dropped_duplicates: tuple[str, ...] = ()
    accepted_errors: dict[str, int] = Field(default_factory=dict)
    runs: tuple[RecordedRun, ...] = ()

    @property
    def commands(self) -> tuple[tuple[str, ...], ...]:
        """The command lines of all that the folder holds, in their order."""
        return (*self.earlier_commands, self.command)

    @classmethod
    def of(
        cls,
        runs: Sequence[GridRun],
        split: str,
        provisos: Provisos,
        *,
        svm_baseline: bool = False,
        probe: bool = False,
        command: Sequence[str] = (),
    ) -> "ComparisonRecord":
        """The record of what is requested now.

        Args:
            runs: the grid, at least one run.
            split: how the corpus is split, in the user's words.
            provisos: what was done to the corpus, and the errors that were accepted.
            svm_baseline: whether the table has a row of the linear SVM.
            probe: whether it has rows of probes.
            command: the command line; empty if there is none.
        """
        spec = runs[0].spec
        return cls(
            command=tuple(map(encodable, command)),
            convrnn=version("convrnn"),
            corpus=spec.corpus,
            fingerprint=spec.fingerprint,
            task=spec.task,
            classes=spec.classes,
            setting=spec.setting,
            split=split,
            normalise=spec.normalise,
            features=spec.features,
            window_ms=spec.window_ms,
            training=spec.training,
            svm_baseline=svm_baseline,
            probe=probe,
            runs=tuple(map(RecordedRun.of, runs)),
            **provisos.to_dict(),
        )


def open_folder(
    out: Path, asked: ComparisonRecord, runs: Sequence[GridRun], splits: Sequence[Split]
) -> ComparisonRecord:
    """Write a folder's record: what is requested now, and what was requested in it before.

    Args:
        out: the folder; made if it does not exist.
        asked: what is requested now.
        runs: its grid.
        splits: the folds.

    Returns:
        The record that the folder's table has to follow.

    Raises:
        InputError: if the folder holds a comparison with other settings (other models and seeds may differ), naming
            them; as :func:`with_earlier_runs`; and for damaged files.
    """
    path = out / COMPARISON
    whole = asked
    if path.exists():
        before = recorded(out)
        _refuse_another(out, before, asked, splits)
        with_earlier_runs(runs, before.runs, out / RUNS)  # refuses what the table could not keep
        *earlier, last = (*before.commands, asked.command) if _adds(before, asked) else before.commands
        whole = asked.model_copy(
            update={
                "command": last,
                "earlier_commands": tuple(earlier),
                "svm_baseline": before.svm_baseline or asked.svm_baseline,
                "probe": before.probe or asked.probe,
                "runs": with_asked(before.runs, asked.runs),
            }
        )
    save_splits(splits, out / SPLITS)
    write_atomically(path, json.dumps(whole.model_dump(mode="json", by_alias=True), indent=2) + "\n")
    return whole


def _adds(before: ComparisonRecord, asked: ComparisonRecord) -> bool:
    """Whether something is requested that was not requested before."""
    return (
        not set(asked.runs) <= set(before.runs)
        or (asked.svm_baseline and not before.svm_baseline)
        or (asked.probe and not before.probe)
    )


def recorded(out: Path) -> ComparisonRecord:
    """The record of a comparison's folder.

    Raises:
        InputError: if its ``compare.json`` is damaged.
    """
    path = out / COMPARISON
    with advising():
        return validate(ComparisonRecord, read_json(path), path, "the record of a comparison")


def _refuse_another(out: Path, before: ComparisonRecord, asked: ComparisonRecord, splits: Sequence[Split]) -> None:
    told = _differences(before, asked)
    if not told and (out / SPLITS).exists():
        with advising():
            earlier = load_splits(out / SPLITS)
        if earlier != list(splits):
            told = [difference("split", before.split, asked.split)]
    if told:
        raise InputError(
            Argument("out", str(out)),
            " holds another comparison: ",
            *listed(told),
            "; choose another ",
            Argument("out"),
        )


def _differences(before: ComparisonRecord, asked: ComparisonRecord) -> list[Parts]:
    """The differences between two experiments other than the splits, before and now."""
    told = []
    if before.task != asked.task:
        told.append(difference("task", before.task, asked.task))
    # The fingerprint is also that of the task's labels.
    same_rows = before.task == asked.task or before.corpus != asked.corpus
    if same_rows and before.fingerprint != asked.fingerprint:
        told.append(_other_rows(before, asked))
    told += [
        difference(name, getattr(before, name), getattr(asked, name))
        for name in ("setting", "normalise")
        if getattr(before, name) != getattr(asked, name)
    ]
    if before.features != asked.features:
        told += _other_features(before.features, asked.features)
    elif before.window_ms and asked.window_ms and before.window_ms != asked.window_ms:
        told.append(difference("window_ms", before.window_ms, asked.window_ms))
    return told + training_differences(before.training, asked.training)


def _other_rows(before: ComparisonRecord, asked: ComparisonRecord) -> Parts:
    """How the corpora differ: two of them, or one in two states."""
    if before.corpus == asked.corpus:
        if before.joined_speakers != asked.joined_speakers:
            pairs, now = ([*map("=".join, it.joined_speakers)] for it in (before, asked))
            then = Argument("same_speaker", tuple(pairs) or None)
            return (then, "" if pairs else " not given", f" (now {', '.join(now) or 'not given'})")
        if before.dropped_duplicates != asked.dropped_duplicates:
            count, now_count = (len(it.dropped_duplicates) for it in (before, asked))
            return (Argument("drop_duplicates"), f" with {count} copies (now {now_count} copies)")
    return difference("corpus", before.corpus, asked.corpus)


def _other_features(before: FeatureConfig, asked: FeatureConfig) -> list[Parts]:
    told = []
    if before.name != asked.name:
        told.append(difference("features", before.name, asked.name))
    rate, asked_rate = (it.sample_rate if isinstance(it, AudioFeatures) else None for it in (before, asked))
    if rate and asked_rate and rate != asked_rate:
        told.append(difference("sample_rate", rate, asked_rate))
    return told or [(Argument("features", before.name), " (now with other settings)")]
