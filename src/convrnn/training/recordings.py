"""Recordings as users give them: paths, arrays, tables and CSV lists."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from convrnn.errors import Argument, InputError
from convrnn.features.extract import Segment, Utterance
from convrnn.features.frames import Frames
from convrnn.features.signal import Signal

if TYPE_CHECKING:
    import pandas as pd

    Recordings = Sequence[str | Path] | Sequence[NDArray[Any]] | pd.DataFrame


def recordings_of(
    recordings: "Recordings", sampling_rate: float | None = None, *, of_frames: bool = False
) -> tuple[list[Utterance], list[str] | None]:
    """The recordings, and their speakers if a table names them.

    Args:
        recordings: Paths of audio files; or arrays of samples, ``[samples]`` or ``[channels, samples]``; or a DataFrame
            with the columns ``file``, optionally ``speaker``, ``start`` and ``end`` (in seconds). For a model of
            frames: paths of ``.npy`` files, arrays ``[frames, features]``, or a DataFrame with the column ``frames``.
        sampling_rate: Hz of arrays of samples, required for these and for nothing else.
        of_frames: Whether the model takes frames instead of audio.

    Raises:
        InputError: The argument is none of these, is empty, or a value in it cannot be used.

    Example:
        >>> recordings_of(["a.wav"])
        ([Segment(file='a.wav', start=None, end=None, headerless_rate=None)], None)
    """
    if not isinstance(recordings, Sequence) and hasattr(recordings, "columns"):
        _refuse_rate(sampling_rate, "a table of files")
        return _of_table(recordings)
    if _is_column(recordings):
        recordings = list(cast("Sequence[str]", recordings))
    if isinstance(recordings, str | Path | np.ndarray) or not isinstance(recordings, Sequence):
        found = (
            f"an array of shape {list(recordings.shape)}" if isinstance(recordings, np.ndarray) else repr(recordings)
        )
        raise InputError(
            Argument("recordings"),
            f": a list of paths, a list of arrays of samples or a DataFrame is expected, not {found}",
        )
    if not recordings:
        raise InputError(Argument("recordings"), ": the list is empty")
    if all(isinstance(one, str | Path) for one in recordings):
        _refuse_rate(sampling_rate, "paths of files")
        return [Segment(str(one)) for one in recordings], None
    arrays = [array for array in map(array_of, recordings) if array is not None]
    if len(arrays) < len(recordings):
        kinds = sorted({type(one).__name__ for one in recordings})
        raise InputError(
            Argument("recordings"),
            f": only paths or only arrays are expected in the list, not {', '.join(kinds)}",
        )
    if of_frames:
        _refuse_rate(sampling_rate, "frames")
        return [Frames.of(one, f"recording {i}") for i, one in enumerate(arrays)], None
    if sampling_rate is None:
        raise InputError(Argument("sampling_rate"), ": the rate of the arrays in Hz is needed")
    return [Signal.of(one, sampling_rate, f"recording {i}") for i, one in enumerate(arrays)], None


def array_of(value: object) -> NDArray[Any] | None:
    """A numpy array, or a tensor as one; None for anything else."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return value if isinstance(value, np.ndarray) else None


def _is_column(recordings: object) -> bool:
    """Whether this is a pandas Series or a one-dimensional array, of paths or of arrays."""
    kind = getattr(getattr(recordings, "dtype", None), "kind", "")
    return getattr(recordings, "ndim", 0) == 1 and kind in ("O", "U")


def _refuse_rate(sampling_rate: float | None, what: str) -> None:
    if sampling_rate is not None:
        raise InputError(Argument("sampling_rate", sampling_rate), f": is only for arrays of samples, not for {what}")


def _of_table(table: "pd.DataFrame") -> tuple[list[Utterance], list[str] | None]:
    import pandas as pd

    from convrnn.corpora.corpus import FRAMES_COLUMN, names_frames

    if "file" in table.index.names:
        # An audformat table has files and times in its index.
        table = table.reset_index()
    source = FRAMES_COLUMN if names_frames(table.columns) else "file"
    if source not in table.columns:
        raise InputError(Argument("recordings"), ": the table needs a column 'file'")
    if not len(table):
        raise InputError(Argument("recordings"), ": the table is empty")
    times = [[_seconds(table, column, row) for row in range(len(table))] for column in ("start", "end")]
    segments: list[Utterance] = [Segment(str(file), *own) for file, *own in zip(table[source], *times, strict=True)]
    if "speaker" not in table.columns:
        return segments, None
    for row, name in enumerate(table["speaker"]):
        if pd.isna(name) or not str(name).strip():
            raise InputError(Argument("recordings"), f": row {row}, column 'speaker': no name is given")
    return segments, [str(name) for name in table["speaker"]]


def _seconds(table: "pd.DataFrame", column: str, row: int) -> float | None:
    """The time in a cell; None if it is missing."""
    import pandas as pd

    if column not in table.columns:
        return None
    value = table[column].iloc[row]
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timedelta):
        return float(value.total_seconds())
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(
            Argument("recordings"), f": row {row}, column '{column}': seconds are expected, not {value!r}"
        ) from None


def read_list(path: Path) -> tuple[list[Segment], list[str] | None]:
    """The recordings in a CSV list, and their speakers; None without a column ``speaker``.

    Args:
        path: Columns ``file`` (relative to the CSV or absolute), optionally ``speaker``, ``start`` and ``end`` in
            seconds; other columns are ignored. The format is that of a corpus's CSV. A column ``frames`` in place of
            ``file`` names arrays of frames.

    Raises:
        InputError: Naming the file, the line and the column.
    """
    from convrnn.corpora.corpus import FRAMES_COLUMN, names_frames
    from convrnn.corpora.csv_table import read_rows

    columns, rows = read_rows(path, required=(("file", FRAMES_COLUMN),))
    source = FRAMES_COLUMN if names_frames(columns) else "file"
    segments = [Segment(str(path.parent / row.filled(source)), *row.times()) for row in rows]
    return segments, [row.filled("speaker") for row in rows] if "speaker" in columns else None
