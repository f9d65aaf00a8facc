"""Evaluation of a trained model on labelled data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.errors import InputError
from convrnn.features.normalise import NormalisePolicy
from convrnn.features.store import FeatureStore, Progress
from convrnn.models.bundle import Bundle
from convrnn.plain_text import csv_cell
from convrnn.training.metrics import Scores
from convrnn.training.predict import log_probabilities


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions on labelled utterances.

    Attributes:
        classes: Class names, in the order of the scores.
        scores: UA recall, accuracy, recalls, confusion.
        predictions: One row per utterance, as :func:`predictions_table` makes it.
    """

    classes: tuple[str, ...]
    scores: Scores
    predictions: pd.DataFrame


def predictions_table(
    corpus: LabelledCorpus, rows: Sequence[int], classes: Sequence[str], log_probs: NDArray[np.float32]
) -> pd.DataFrame:
    """A table of predictions and true labels.

    Args:
        corpus: The corpus.
        rows: Row numbers of the utterances.
        classes: Class names in the model's order.
        log_probs: [utterances, classes].

    Returns:
        Columns ``id``, ``file`` (as the corpus lists it), ``speaker``, ``label``, ``prediction`` and one
        ``p_<class>`` per class with its probability.
    """
    chosen = corpus.table.iloc[list(rows)]
    whole = chosen["start"].isna() & chosen["end"].isna()
    columns: dict[str, object] = {
        "id": chosen["id"].tolist(),
        "file": [i if w else i.rpartition("#")[0] for i, w in zip(chosen["id"], whole, strict=True)],
        "speaker": chosen["speaker"].tolist(),
        "label": chosen["label"].tolist(),
        "prediction": [classes[i] for i in log_probs.argmax(axis=1)],
    }
    probabilities = np.exp(log_probs)
    columns.update({f"p_{name}": probabilities[:, i] for i, name in enumerate(classes)})
    return pd.DataFrame(columns)


def predictions_csv(table: pd.DataFrame) -> str:
    """The table as CSV; probabilities have as many digits as a float32 needs to be read back exactly.

    :func:`~convrnn.plain_text.csv_cell` makes texts safe for spreadsheets.
    """
    safe = table.rename(columns=csv_cell).map(lambda cell: csv_cell(cell) if isinstance(cell, str) else cell)
    return str(safe.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def score(table: pd.DataFrame, classes: Sequence[str]) -> Scores:
    """Computes the metrics from a table of predictions.

    Args:
        table: With columns ``label`` and ``prediction``.
        classes: Class names, in the order of the scores.
    """
    index = {name: i for i, name in enumerate(classes)}
    truth = [index[label] for label in table["label"]]
    prediction = [index[label] for label in table["prediction"]]
    return Scores.of(truth, prediction, len(classes))


def evaluate(
    bundle: Bundle,
    corpus: LabelledCorpus,
    *,
    rows: Sequence[int] | None = None,
    normalise: NormalisePolicy | None = None,
    batch_size: int = 32,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> Evaluation:
    """Evaluates a trained model on a labelled corpus.

    Args:
        bundle: The trained model.
        corpus: The corpus.
        rows: Row numbers to use; by default all.
        normalise: A normalisation policy instead of the model's own.
        batch_size: Utterances per batch.
        cache_dir: Features are kept in its folder ``features``; without a cache they are computed.
        jobs: As for :func:`~convrnn.training.predict.log_probabilities`.
        on_progress: As for :func:`~convrnn.training.predict.log_probabilities`.

    Raises:
        InputError: A label is not one of the model's classes, there is no row, or as for
            :func:`~convrnn.training.predict.log_probabilities`.
    """
    classes = bundle.config.classes
    labels, chosen = corpus.labels, list(range(len(corpus)) if rows is None else rows)
    if not chosen:
        raise InputError(f"{corpus.name}: no example has a label for '{corpus.task}'")
    if unknown := sorted({labels[row] for row in chosen} - set(classes)):
        raise InputError(
            f"{corpus.name}: label '{unknown[0]}' of task '{corpus.task}' is unknown to the model, whose classes are "
            f"{', '.join(classes)}"
        )
    segments = corpus.segments()
    result = log_probabilities(
        bundle,
        [segments[row] for row in chosen],
        speakers=corpus.table["speaker"].iloc[chosen].tolist(),
        normalise=normalise,
        batch_size=batch_size,
        store=None if cache_dir is None else FeatureStore(Path(cache_dir) / "features", bundle.config.features),
        jobs=jobs,
        on_progress=on_progress,
    )
    table = predictions_table(corpus, chosen, classes, result)
    return Evaluation(tuple(classes), score(table, classes), table)
