"""What a trained model is worth on labelled data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from convrnn.corpora.corpus import Corpus
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
    corpus: Corpus, rows: Sequence[int], task: str, classes: Sequence[str], log_probs: NDArray[np.float32]
) -> pd.DataFrame:
    """Predictions beside the truth.

    Args:
        corpus: The corpus.
        rows: Row numbers of the utterances.
        task: The task; its labels are the truth.
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
        "label": chosen[task].tolist(),
        "prediction": [classes[i] for i in log_probs.argmax(axis=1)],
    }
    probabilities = np.exp(log_probs)
    columns.update({f"p_{name}": probabilities[:, i] for i, name in enumerate(classes)})
    return pd.DataFrame(columns)


def predictions_csv(table: pd.DataFrame) -> str:
    """The table as CSV, probabilities with the digits that give the same float32 back.

    Texts are as :func:`~convrnn.plain_text.csv_cell` gives them.
    """
    safe = table.rename(columns=csv_cell).map(lambda cell: csv_cell(cell) if isinstance(cell, str) else cell)
    return str(safe.to_csv(index=False, float_format="%.9g", lineterminator="\n"))


def score(table: pd.DataFrame, classes: Sequence[str]) -> Scores:
    """The measures of a table of predictions.

    Args:
        table: With columns ``label`` and ``prediction``.
        classes: Class names in the order wanted.
    """
    index = {name: i for i, name in enumerate(classes)}
    truth = [index[label] for label in table["label"]]
    prediction = [index[label] for label in table["prediction"]]
    return Scores.of(truth, prediction, len(classes))


def evaluate(
    bundle: Bundle,
    corpus: Corpus,
    task: str | None = None,
    *,
    rows: Sequence[int] | None = None,
    normalise: NormalisePolicy | None = None,
    batch_size: int = 32,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Progress | None = None,
) -> Evaluation:
    """A trained model on a labelled corpus.

    Args:
        bundle: The trained model.
        corpus: The corpus.
        task: The label column to compare with; by default the bundle's task.
        rows: Row numbers to look at; by default all. Rows without a label are left out.
        normalise: Another normalisation policy than the bundle's.
        batch_size: Utterances per batch.
        cache_dir: Features are kept under ``features`` in it; without one they are computed.
        jobs: As for :func:`~convrnn.training.predict.log_probabilities`.
        on_progress: As for that.

    Raises:
        InputError: For an unknown task, a label that the model does not know, no labelled row, and as
            :func:`~convrnn.training.predict.log_probabilities`.
    """
    task = task or bundle.config.task
    classes = bundle.config.classes
    corpus.classes(task)
    labels = corpus.table[task]
    labelled = [row for row in (range(len(labels)) if rows is None else rows) if not pd.isna(labels.iloc[row])]
    if not labelled:
        raise InputError(f"{corpus.name}: no example has a label for '{task}'")
    if unknown := sorted(set(labels.iloc[labelled]) - set(classes)):
        raise InputError(
            f"{corpus.name}: label '{unknown[0]}' of task '{task}' is unknown to the model, whose classes are "
            f"{', '.join(classes)}"
        )
    segments = corpus.segments()
    result = log_probabilities(
        bundle,
        [segments[row] for row in labelled],
        speakers=corpus.table["speaker"].iloc[labelled].tolist(),
        normalise=normalise,
        batch_size=batch_size,
        store=None if cache_dir is None else FeatureStore(Path(cache_dir) / "features", bundle.config.features),
        jobs=jobs,
        on_progress=on_progress,
    )
    table = predictions_table(corpus, labelled, task, classes, result)
    return Evaluation(tuple(classes), score(table, classes), table)
