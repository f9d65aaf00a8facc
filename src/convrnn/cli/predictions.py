"""Predictions as the commands print them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convrnn.plain_text import csv_cell


def prediction_of(classes: Sequence[str], log_probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """The most likely class as ``prediction``, and the ``probabilities`` of all classes.

    Example:
        >>> prediction_of(("no", "yes"), np.log(np.array([0.25, 0.75], np.float32)))
        {'prediction': 'yes', 'probabilities': {'no': 0.25, 'yes': 0.75}}
    """
    probabilities = np.exp(log_probabilities).tolist()
    prediction = classes[probabilities.index(max(probabilities))]
    return {"prediction": prediction, "probabilities": dict(zip(classes, probabilities, strict=True))}


def heading(classes: Sequence[str]) -> list[str]:
    """The columns of :func:`cells`.

    Example:
        >>> heading(("no", "yes"))
        ['prediction', 'p_no', 'p_yes']
    """
    return ["prediction", *(f"p_{name}" for name in classes)]


def cells(found: dict[str, Any]) -> list[str]:
    """The fields of a CSV row for what :func:`prediction_of` returns; no spreadsheet takes them for formulas.

    Example:
        >>> cells({"prediction": "yes", "probabilities": {"no": 0.25, "yes": 0.75}})
        ['yes', '0.250000', '0.750000']
    """
    return [csv_cell(found["prediction"]), *(f"{share:.6f}" for share in found["probabilities"].values())]
