"""The features that a trained model's front end computes, for other models to use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.recording import Fault
from convrnn.features.base import AudioFeatures, Features
from convrnn.features.extract import Segment, Utterance
from convrnn.features.normalise import NormalisePolicy
from convrnn.features.store import Progress
from convrnn.models.bundle import Bundle
from convrnn.models.front_end import FrontEnd
from convrnn.training.predict import standardise

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Windows:
    """The features of one recording.

    Attributes:
        segment: The recording.
        features: float32 ``[windows, features]``.
        start: float64 ``[windows]``, the first moment that a window depends on, in seconds of the file or signal; for a
            model of frames the number of its first frame.
        end: float64 ``[windows]``, the last moment, or the number of the frame after the last one. Windows of a
            recording that is shorter than one, and those at its ends under "same" padding, are cut off there.
        faults: What makes the features doubtful, each as (severity, kind, sentence).
    """

    segment: Utterance
    features: NDArray[np.float32]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    faults: tuple[Fault, ...] = ()


def extract_windows(
    bundle: Bundle,
    segments: Sequence[Utterance],
    *,
    speakers: Sequence[str] | None = None,
    normalise: NormalisePolicy | None = None,
    accept: Collection[str] = (),
    batch_size: int = 32,
    jobs: int = 1,
    on_listened: Progress | None = None,
    on_extracted: Progress | None = None,
) -> list[Windows]:
    """The output of a model's front end, one row per window; of models without a front end, their standardised input.

    Arguments are those of :func:`~convrnn.training.predict.predict`.

    Raises:
        InputError: As :func:`~convrnn.training.predict.predict`, and for the first bad recording.
    """
    found = standardise(
        bundle,
        segments,
        speakers=speakers,
        normalise=normalise,
        accept=accept,
        fail_fast=True,
        jobs=jobs,
        on_listened=on_listened,
        on_extracted=on_extracted,
    )
    inputs = [found.features[row] for row in range(len(segments))]
    outputs = bundle.extract_features(inputs, batch_size=batch_size)
    front_end, config = bundle.model.front_end, bundle.config.features
    times = [_times(front_end, config, len(x), len(y)) for x, y in zip(inputs, outputs, strict=True)]
    offsets = [segment.start or 0.0 if isinstance(segment, Segment) else 0.0 for segment in segments]
    return [
        Windows(segment, features, offset + start, offset + end, faults)
        for segment, features, (start, end), offset, faults in zip(
            segments, outputs, times, offsets, found.faults, strict=True
        )
    ]


def _times(
    front_end: FrontEnd, config: Features, frames: int, windows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Start and end of each window, in seconds or frames."""
    first = front_end.first_frame(max(frames, front_end.shortest_input)) + front_end.frame_stride * np.arange(windows)
    start: NDArray[np.float64] = np.clip(first, 0, frames - 1).astype(np.float64)
    last: NDArray[np.float64] = np.clip(first + front_end.receptive_field - 1, 0, frames - 1).astype(np.float64)
    if not isinstance(config, AudioFeatures):
        return start, last + 1
    return start * config.shift_ms / 1000, (last * config.shift_ms + config.frame_ms) / 1000


def windows_table(found: Sequence[Windows]) -> "pd.DataFrame":
    """One row per window: ``file``, ``start`` and ``end`` as in :class:`Windows`, and ``feature_0`` and so on.

    Example:
        >>> zeros = np.zeros((2, 1), np.float32)
        >>> windows_table([Windows(Segment("a.wav"), zeros, np.array([0.0, 0.16]), np.array([0.33, 0.49]))])
            file  start   end  feature_0
        0  a.wav   0.00  0.33        0.0
        1  a.wav   0.16  0.49        0.0
    """
    import pandas as pd

    files = [one.segment.file if isinstance(one.segment, Segment) else one.segment.name for one in found]
    features = np.concatenate([one.features for one in found])
    table = pd.DataFrame(features, columns=[f"feature_{i}" for i in range(features.shape[1])])
    table.insert(0, "file", np.repeat(files, [len(one.features) for one in found]))
    table.insert(1, "start", np.concatenate([one.start for one in found]))
    table.insert(2, "end", np.concatenate([one.end for one in found]))
    return table
