"""Captions: what a reader needs to know to judge results."""

from collections.abc import Sequence

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.names import some
from convrnn.experiments.grid import GridRun
from convrnn.experiments.outcomes import Outcome
from convrnn.experiments.paper import Column
from convrnn.experiments.prepare import Prepared
from convrnn.experiments.results import Experiment
from convrnn.training.config import DEFAULTS


def experiment_of(
    column: Column, prepared: Prepared, runs: Sequence[GridRun], outcomes: Sequence[Outcome]
) -> Experiment:
    """The outcomes of models on a corpus, with their caption.

    Args:
        column: what the models were trained on.
        prepared: the corpus's rows and how they were split.
        runs: the grid, at least one run.
        outcomes: of its runs and of other models.
    """
    data, sentences = prepared.data, prepared.provisos.sentences()
    return Experiment(
        column,
        data.name,
        data.synthetic,
        data.classes,
        caption(data, prepared.split, runs, sentences),
        tuple(outcomes),
        tuple(sentences),
    )


def caption(corpus: LabelledCorpus, split: str, runs: Sequence[GridRun], provisos: Sequence[str] = ()) -> str:
    """The caption of a table: everything that a reader needs to know to judge the numbers.

    Args:
        corpus: the corpus.
        split: how it was split, as the user gave it.
        runs: the grid, at least one run.
        provisos: what was done to the corpus and which of its errors were accepted, as sentences.
    """
    spec = runs[0].spec
    of_models: dict[str, set[int]] = {}
    for run in runs:
        of_models.setdefault(run.spec.model_name, set()).add(run.spec.seed)
    fewest, seeds = min(map(len, of_models.values())), max(map(len, of_models.values()))
    window = f", windows of {spec.window_ms:g} ms" if spec.window_ms is not None else ""
    parts = [
        f"{corpus.name}, task {corpus.task} ({some(spec.classes)})",
        f"setting {spec.setting}",
        f"split {split}" + (f" ({runs[0].folds} folds pooled per seed)" if runs[0].folds > 1 else ""),
        ("" if fewest == seeds else f"{fewest} to ") + f"{seeds} seed{'s' if seeds > 1 else ''}",
        f"{spec.features.description}{window}, standardised per {spec.normalise}",
    ]
    if spec.balance:
        parts.append("training classes balanced")
    if split == "partitions" and "validation" not in corpus.table["partition"].tolist():
        held_out, trained = len(spec.split.validation), len(spec.split.train)
        parts.append(f"{held_out} of {held_out + trained} training speakers held out for validation")
    if spec.training.max_epochs != DEFAULTS.max_epochs:
        epochs = spec.training.max_epochs
        parts.append(f"at most {epochs} epoch{'s' if epochs > 1 else ''}")
    if spec.training.patience != DEFAULTS.patience:
        parts.append(f"patience {spec.training.patience}")
    if spec.training.batch_size != DEFAULTS.batch_size:
        parts.append(f"batches of {spec.training.batch_size}")
    if spec.training.lr != DEFAULTS.lr:
        parts.append(f"learning rate {spec.training.lr:g}")
    text = "; ".join(parts) + "."
    if seeds > 1:
        text += " ± is the standard deviation over seeds (ddof = 1)."
    else:
        text += " One seed, so no standard deviation."
    if corpus.synthetic:
        text += " The corpus is synthetic speech, not recordings of people."
    return " ".join([text, *provisos])
