"""The saved model that a command is given, and what its run directory says about it."""

from pathlib import Path

from convrnn.cli.console import warn
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError
from convrnn.experiments.arguments import check_policy
from convrnn.features.normalise import NormalisePolicy
from convrnn.json_files import read_json, validate
from convrnn.models.bundle import Bundle
from convrnn.training.run_directory import BEST, PARTIAL, RESULT, SPEC, RunFiles
from convrnn.training.spec import RunSpec


def open_bundle(path: Path) -> tuple[Bundle, RunSpec | None]:
    """The saved model at ``path``, or in the run directory ``path``, and the spec of its run if it is in one.

    Raises:
        InputError: if there is no saved model, if it is damaged, of another version or not as its finished run wrote
            it, or if the run's spec is damaged.
    """
    if not (path / "config.json").exists() and (path / BEST / "config.json").exists():
        path = path / BEST
    run = path.absolute().parent
    # The spec says which speakers the model was trained on, and the result has its digest.
    is_finished = path.absolute().name == BEST and not run.name.endswith(PARTIAL)
    if is_finished and any((run / name).exists() for name in (RESULT, SPEC)):
        RunFiles(run).check(BEST, SPEC)
    bundle = Bundle.load(path)
    beside = run / SPEC
    if not beside.exists():
        return bundle, None
    try:
        return bundle, validate(RunSpec, read_json(beside), beside, "the run's spec")
    except InputError:
        if path.absolute().name == BEST:
            # Only the spec says which speakers the model was trained on.
            raise
        # Elsewhere it may be an unrelated file of the same name.
        return bundle, None


def choose_policy(bundle: Bundle, normalise: str | None) -> NormalisePolicy:
    """The policy to use: the given one, with a warning if the model was trained with another, or else the model's.

    Args:
        bundle: the model.
        normalise: the given policy, if any.

    Raises:
        InputError: for a policy that does not exist.
    """
    trained = bundle.config.normalise
    policy = trained if normalise is None else check_policy(normalise)
    if policy == trained:
        return trained
    warn(
        f"the model was trained with features standardised per {trained}, not per {policy}: accuracy can drop to "
        f"chance; to use {policy}, train with --normalise {policy}"
    )
    return policy


def training_split(spec: RunSpec | None, corpus: LabelledCorpus) -> Split | None:
    """The model's split, if it is known and this is the corpus that the model was trained on."""
    if spec is None or spec.task != corpus.task:
        return None
    if not set(spec.split.train) & set(corpus.speakers):
        return None
    try:
        same = corpus.fingerprint == spec.fingerprint
    except InputError:
        return None
    return spec.split if same else None


def partition_rows(corpus: LabelledCorpus, partition: str, split: Split | None) -> list[int]:
    """The rows of a partition: that of the model's split if it is known, else that of the corpus.

    Args:
        corpus: the corpus.
        partition: ``"train"``, ``"validation"``, ``"test"``, ``"all"``, or "" for test if there is one, else all.
        split: from :func:`training_split`.

    Raises:
        InputError: if no row is in that partition.
    """
    table = corpus.table
    if split is not None:
        found = [split.sides.get(speaker) for speaker in table["speaker"]]
    else:
        found = table["partition"].tolist()
    wanted = partition or ("test" if "test" in found else "all")
    if wanted == "all":
        return list(range(len(table)))
    rows = [row for row, side in enumerate(found) if side == wanted]
    if not rows:
        raise InputError(
            Argument("partition", wanted),
            f": {corpus.name} has no rows in it; choose ",
            Argument("partition", "all"),
        )
    return rows
