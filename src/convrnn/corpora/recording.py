"""Reading the files of a corpus and finding what is wrong with them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.fingerprint import Fingerprinter
from convrnn.corpora.formats import foreign_format, how_to_convert
from convrnn.corpora.heard import Heard, HeardStore
from convrnn.corpora.names import is_there, similar_file
from convrnn.corpora.riff import missing_bytes
from convrnn.corpora.utterances import Utterances
from convrnn.errors import InputError
from convrnn.features.audio import AudioInfo
from convrnn.features.bandwidth import ResamplingDetector
from convrnn.features.extract import Segment
from convrnn.features.frames import frames_shape, read_frames
from convrnn.features.signal import Signal
from convrnn.processes import Event, WorkFailedError, run_in_processes

FRAME_SECONDS = 0.025
FULL_SCALE = 32767 / 32768
"""The largest sample of 16-bit audio."""
CLIPPED_SHARE = 0.001
CLIPPED_RUN = 3

Fault = tuple[Literal["error", "warning"], str, str]
_File = tuple[list[Segment], list[str]]
"""The segments of one file, and their names in messages."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Findings about the audio, or the array of frames, of one utterance.

    Attributes:
        file: The file.
        sample_rate: Hz; None if the file could not be opened.
        channels: Number of channels of the file, whose mean is used; None if it could not be opened.
        seconds: Duration of the utterance; None if it could not be read.
        digest: Hash of the decoded samples, without zeros at both ends; None if they could not be read, and for
            silence, which cannot be told apart.
        fingerprint: From :class:`~convrnn.corpora.fingerprint.Fingerprinter`, ``[frames]``; None if there is no
            digest.
        resampled_from: Result of :func:`~convrnn.features.bandwidth.resampled_from`; None if there is no digest.
        faults: Everything that is wrong with it, each as (severity, kind, sentence).
        frames: Number of frames of an array; None for audio.
        num_features: Its features per frame.
    """

    file: str
    sample_rate: int | None = None
    channels: int | None = None
    seconds: float | None = None
    digest: str | None = None
    fingerprint: NDArray[np.uint32] | None = None
    resampled_from: int | None = None
    faults: tuple[Fault, ...] = ()
    frames: int | None = None
    num_features: int | None = None


def listen(
    corpus: Utterances,
    *,
    cache_dir: Path | None = None,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Recording]:
    """Reads every file of the corpus once.

    Args:
        corpus: The corpus.
        cache_dir: Folder in which findings are cached, by the content of the files; by default none.
        jobs: Number of processes.
        on_progress: Called with the number of files read and the total.

    Returns:
        One recording per row, in table order.

    Raises:
        InputError: If ``cache_dir`` cannot be written, or a process was killed.
    """
    rows: dict[str, list[int]] = {}
    segments, ids = corpus.segments(), corpus.table["id"].tolist()
    for row, segment in enumerate(segments):
        rows.setdefault(segment.file, []).append(row)
    places = list(rows.values())
    files = [([segments[row] for row in own], [ids[row] for row in own]) for own in places]
    recordings: dict[int, Recording] = {}
    done = 0

    def finish(index: int, heard: Sequence[Recording]) -> None:
        nonlocal done
        recordings.update(zip(places[index], heard, strict=True))
        done += 1
        if on_progress is not None:
            on_progress(done, len(files))

    _read_files(_look_at_file if corpus.holds_frames else _listen_to_file, files, cache_dir, jobs, finish)
    return [recordings[row] for row in range(len(ids))]


def listen_to(segment: Segment | Signal, identity: str) -> Recording:
    """Reads one utterance, in blocks.

    Args:
        segment: The utterance, in a file or in memory.
        identity: Its name in messages.

    Returns:
        The findings; if it cannot be read, the reason is one of its faults.
    """
    if isinstance(segment, Signal):
        info = segment.info()
        return _recording(_hear(segment, info), info, identity, str(segment))
    [recording] = _listen_to_file(None, ([segment], [identity]))
    return recording


def look_at(file: str) -> Recording:
    """Reads an array of frames.

    Args:
        file: Its path.

    Returns:
        The findings; if it cannot be read, the reason is one of its faults.
    """
    try:
        frames, num_features = frames_shape(file)
        if frames == 0:
            sentence = f"{file}: holds no frames"
            return Recording(file, faults=(("error", "zero-length", sentence),), frames=0, num_features=num_features)
        values = read_frames(file)
    except InputError as error:
        return Recording(file, faults=(_why_not(Path(file), str(error)),))
    if (values == values[0, 0]).all():
        fault: Fault = ("warning", "constant", f"{file}: all {values.size} values are equal")
        return Recording(file, faults=(fault,), frames=frames, num_features=num_features)
    digest = hashlib.sha256(f"{values.shape}".encode())
    digest.update(values.astype("<f4", copy=False).data)
    return Recording(file, digest=digest.hexdigest(), frames=frames, num_features=num_features)


def _look_at_file(_cache_dir: Path | None, file: _File, _report: object) -> list[Recording]:
    """The array of frames of one file, for each of its rows; reading it again costs no more than a cache."""
    segments, _ = file
    return [look_at(segments[0].file)] * len(segments)


def _read_files(
    read: Callable[[Path | None, _File, object], list[Recording]],
    files: Sequence[_File],
    cache_dir: Path | None,
    jobs: int,
    finish: Callable[[int, Sequence[Recording]], None],
) -> None:
    if min(jobs, len(files)) <= 1:
        for index, file in enumerate(files):
            finish(index, read(cache_dir, file, None))
        return

    def on_event(event: Event) -> None:
        if event.kind == "done":
            finish(event.index, event.value)

    try:
        run_in_processes(read, cache_dir, files, jobs=jobs, on_event=on_event)
    except WorkFailedError as error:
        if error.details and not error.is_input_error:
            raise
        raise InputError(f"{files[error.index][0][0].file}: {error.message}") from error


def _listen_to_file(cache_dir: Path | None, file: _File, _report: object = None) -> list[Recording]:
    """The recordings of one file's segments."""
    segments, ids = file
    path = segments[0].file
    info, fault = _open(segments[0])
    rate, channels = (None, None) if info is None else (info.sample_rate, info.channels)
    if info is None or fault:
        return [Recording(path, rate, channels, faults=(fault,) if fault else ()) for _ in segments]
    store = None if cache_dir is None else HeardStore(cache_dir)
    heard: Sequence[Heard | InputError] | None = store.load(segments) if store else None
    if heard is None:
        heard = [_hear(segment, info) for segment in segments]
        if store:
            store.save(segments, [own for own in heard if isinstance(own, Heard)])
    return [_recording(own, info, identity, path) for own, identity in zip(heard, ids, strict=True)]


def _recording(heard: Heard | InputError, info: AudioInfo, identity: str, path: str) -> Recording:
    rate, channels = info.sample_rate, info.channels
    if not isinstance(heard, Heard):
        return Recording(path, rate, channels, faults=(("error", "unreadable", str(heard)),))
    seconds, faults = heard.samples / rate, tuple(_faults(heard, info, identity, path))
    return Recording(path, rate, channels, seconds, heard.digest, heard.fingerprint, heard.resampled_from, faults)


def _open(segment: Segment) -> tuple[AudioInfo | None, Fault | None]:
    """The file's header, and why the file cannot be read."""
    file = segment.file
    try:
        info = segment.info()
    except InputError as error:
        hint = "; arrays of frames need a column 'frames' in place of 'file'" if file.endswith(".npy") else ""
        return None, _why_not(Path(file), f"{error}{hint}")
    if missing := missing_bytes(file):
        sentence = f"{file}: audio file is truncated; {missing} bytes that its header announces are missing"
        return info, ("error", "truncated", sentence)
    if info.frames == 0:
        return info, ("error", "zero-length", f"{file}: audio file holds no samples")
    return info, None


def _why_not(path: Path, sentence: str) -> Fault:
    if not is_there(path):
        return "error", "missing-file", sentence + similar_file(path)
    if path.is_file() and path.stat().st_size == 0:
        return "error", "zero-length", sentence
    if name := foreign_format(path):
        return "error", "foreign-format", f"{path}: is {name}, which cannot be read here; {how_to_convert(path)}"
    return "error", "unreadable", sentence


def _hear(segment: Segment | Signal, info: AudioInfo) -> Heard | InputError:
    """The findings about the samples of a segment, or why they cannot be read."""
    digest, fingerprinter, clipping = _Digest(), Fingerprinter(info.sample_rate), _Clipping()
    resampling = ResamplingDetector(info.sample_rate)
    lowest, highest, samples = np.inf, -np.inf, 0
    try:
        for block in segment.blocks():
            samples += len(block)
            lowest, highest = min(lowest, block.min()), max(highest, block.max())
            digest.add(block)
            clipping.add(block)
            fingerprinter.add(block)
            resampling.add(block)
    except InputError as error:
        return error
    if lowest == highest:
        return Heard(samples, None, None, 0, None)
    return Heard(samples, digest.finish(), fingerprinter.finish(), clipping.finish(), resampling.finish())


class _Digest:
    """The hash of samples that come in blocks, without zeros at the beginning and the end."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._begun = False
        self._zeros = 0

    def add(self, block: NDArray[np.float32]) -> None:
        sounding = np.flatnonzero(block)
        if len(sounding) == 0:
            self._zeros += len(block)
            return
        if self._begun:
            self._hash.update(bytes(4 * self._zeros))
        first, last = 0 if self._begun else int(sounding[0]), int(sounding[-1]) + 1
        self._hash.update(np.ascontiguousarray(block[first:last], dtype="<f4").tobytes())
        self._begun, self._zeros = True, len(block) - last

    def finish(self) -> str:
        return self._hash.hexdigest()


class _Clipping:
    """Counts the samples at full scale, block by block, as :func:`clipped_samples` does."""

    def __init__(self) -> None:
        self._samples = self._count = 0
        self._in_a_row = False
        self._end = np.zeros(CLIPPED_RUN - 1, np.float32)

    def add(self, block: NDArray[np.float32]) -> None:
        self._samples += len(block)
        self._count += int((np.abs(block) >= FULL_SCALE).sum())
        joined = np.concatenate([self._end, block])
        self._in_a_row = self._in_a_row or _full_scale_run(joined)
        self._end = joined[1 - CLIPPED_RUN :]

    def finish(self) -> int:
        return self._count if self._in_a_row or self._count >= CLIPPED_SHARE * self._samples else 0


def _full_scale_run(samples: NDArray[np.float32]) -> bool:
    full = np.abs(samples) >= FULL_SCALE
    return bool(full.any() and np.convolve(full, np.ones(CLIPPED_RUN, dtype=np.int64)).max() >= CLIPPED_RUN)


def _faults(heard: Heard, info: AudioInfo, identity: str, file: str) -> list[Fault]:
    faults: list[Fault] = []
    if heard.samples < int(FRAME_SECONDS * info.sample_rate):
        length = f"{1000 * heard.samples / info.sample_rate:.4g} ms long"
        faults.append(("error", "too-short", f"{identity} is {length}, less than one frame of 25 ms"))
    if heard.digest is None:
        sentence = f"{identity} is digital silence: all {heard.samples} samples are equal"
        faults.append(("warning", "silence", sentence))
    if heard.clipped:
        share = f"{heard.clipped} of {heard.samples} samples ({100 * heard.clipped / heard.samples:.2g} %)"
        faults.append(("warning", "clipping", f"{identity} is clipped: {share} are at full scale"))
    if info.channels > 1:
        faults.append(("warning", "stereo", f"{file}: has {info.channels} channels; their mean is used"))
    return faults


def clipped_samples(samples: NDArray[np.float32]) -> int:
    """The number of samples at full scale if the audio counts as clipped, otherwise 0.

    It counts as clipped if three neighbouring samples or 0.1 % of all samples are at full scale.

    Args:
        samples: float32 ``[samples]``, full scale at 1.

    Example:
        >>> clipped_samples(np.array([0, 1, 1, 1, 0.5], dtype=np.float32))
        3
        >>> clipped_samples(np.array([1] + [0] * 2000, dtype=np.float32))
        0
    """
    clipping = _Clipping()
    clipping.add(samples)
    return clipping.finish()
