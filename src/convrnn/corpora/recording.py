"""Listening to the utterances of a corpus."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.riff import missing_bytes
from convrnn.errors import InputError
from convrnn.features.extract import Segment

FRAME_SECONDS = 0.025
FULL_SCALE = 32767 / 32768
"""The largest sample of 16-bit audio."""
CLIPPED_SHARE = 0.001
CLIPPED_RUN = 3

Fault = tuple[Literal["error", "warning"], str, str]


@dataclass(frozen=True, slots=True)
class Recording:
    """What is known of one utterance after listening to it.

    Attributes:
        file: The audio file.
        sample_rate: Hz; None if the file could not be opened.
        seconds: Duration of the utterance; None if it could not be read.
        digest: Hash of the decoded samples; None for those and for silence, which is alike everywhere.
        faults: Severity, kind and sentence of what is wrong with the audio.
    """

    file: str
    sample_rate: int | None = None
    seconds: float | None = None
    digest: str | None = None
    faults: tuple[Fault, ...] = ()


def listen(corpus: Corpus, on_progress: Callable[[int, int], None] | None = None) -> list[Recording]:
    """Read every file of the corpus once.

    Args:
        corpus: Whose audio to read.
        on_progress: Called with files read so far and files in all.

    Returns:
        One recording per row, in table order.
    """
    ids = corpus.table["id"].tolist()
    segments = corpus.segments()
    rows: dict[str, list[int]] = {}
    for row, segment in enumerate(segments):
        rows.setdefault(segment.file, []).append(row)
    recordings: dict[int, Recording] = {}
    for done, (file, own) in enumerate(rows.items(), start=1):
        rate, fault = _open(segments[own[0]])
        for row in own:
            if rate is None or fault:
                recordings[row] = Recording(file, rate, faults=(fault,) if fault else ())
            else:
                recordings[row] = _listen_to(segments[row], rate, ids[row])
        if on_progress is not None:
            on_progress(done, len(rows))
    return [recordings[row] for row in range(len(ids))]


def _open(segment: Segment) -> tuple[int | None, Fault | None]:
    """The file's sample rate in Hz, and what forbids to read it."""
    file = segment.file
    try:
        info = segment.info()
    except InputError as error:
        path = Path(file)
        if not path.exists():
            return None, ("error", "missing-file", str(error))
        kind = "zero-length" if path.is_file() and path.stat().st_size == 0 else "unreadable"
        return None, ("error", kind, str(error))
    if missing := missing_bytes(file):
        sentence = f"{file}: audio file is truncated; {missing} bytes are missing of those that its header announces"
        return info.sample_rate, ("error", "truncated", sentence)
    if info.frames == 0:
        return info.sample_rate, ("error", "zero-length", f"{file}: audio file holds no samples")
    return info.sample_rate, None


def _listen_to(segment: Segment, rate: int, identity: str) -> Recording:
    try:
        samples, _ = segment.read()
    except InputError as error:
        return Recording(segment.file, rate, faults=(("error", "unreadable", str(error)),))
    faults: list[Fault] = []
    seconds = len(samples) / rate
    if len(samples) < int(FRAME_SECONDS * rate):
        sentence = f"{identity} is {1000 * seconds:.4g} ms long, less than one frame of 25 ms"
        faults.append(("error", "too-short", sentence))
    silent = samples.min() == samples.max()
    if silent:
        faults.append(("warning", "silence", f"{identity} is digital silence: all {len(samples)} samples are equal"))
    elif clipped := clipped_samples(samples):
        share = f"{clipped} of {len(samples)} samples ({100 * clipped / len(samples):.2g} %)"
        faults.append(("warning", "clipping", f"{identity} is clipped: {share} are at full scale"))
    digest = None if silent else hashlib.sha256(samples.tobytes()).hexdigest()
    return Recording(segment.file, rate, seconds, digest, tuple(faults))


def clipped_samples(samples: NDArray[np.float32]) -> int:
    """How many samples are at full scale, if these make the audio clipped, else 0.

    It is clipped if three neighbouring samples are at full scale, or 0.1 % of all samples.

    Args:
        samples: float32 ``[samples]``, full scale at 1.

    Example:
        >>> clipped_samples(np.array([0, 1, 1, 1, 0.5], dtype=np.float32))
        3
        >>> clipped_samples(np.array([1] + [0] * 2000, dtype=np.float32))
        0
    """
    full = np.abs(samples) >= FULL_SCALE
    count = int(full.sum())
    if count >= CLIPPED_SHARE * len(samples):
        return count
    in_a_row = np.convolve(full, np.ones(CLIPPED_RUN, dtype=np.int64)).max()
    return count if in_a_row >= CLIPPED_RUN else 0
