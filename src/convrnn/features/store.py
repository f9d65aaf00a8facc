"""Features on disk, extracted once and in parallel; a file is named by a hash of what it was computed from."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.audio import check_audio_file
from convrnn.features.base import Features
from convrnn.features.extract import Segment, extract_features
from convrnn.files import file_hash, remove_leftovers_once, write_atomically, writing
from convrnn.processes import Event, WorkFailedError, run_in_processes

FEATURES_VERSION = 1
"""Incremented when a fix changes the features of the same config and audio; part of every key."""

_HEADER_BYTES, _DIGEST_BYTES = 128, 32

Progress = Callable[[int, int], None]
"""Called with the number of segments done and the total."""

_Work = tuple[Segment, Path]


class FeatureStore:
    """A folder of features: ``<root>/<config key>/<2 hex digits>/<key>.npy``, one file per segment.

    A file appears under its name only when it is complete, so an extraction killed at any moment continues where it
    stopped. Keys depend on the bytes of the audio, not on its path, so that copies share one file.

    A file is an array in numpy's format, followed by the SHA-256 of the key and the array. If the hash is wrong or
    missing, as in files of early versions, the features are computed again.

    Args:
        root: Folder of the store, created when first written to; several configs may share it.
        config: The features to compute.

    Raises:
        InputError: A library whose version is part of every key, such as openSMILE for eGeMAPS, is not installed.

    Example:
        >>> import tempfile, soundfile
        >>> from convrnn.features.logmel import LogMelConfig
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/a.wav", np.zeros(16000), 16000)
        ...     store = FeatureStore(Path(folder) / "features", LogMelConfig(sample_rate=16000))
        ...     store.extract([Segment(f"{folder}/a.wav", 0.0, 0.5)])
        ...     store.load(Segment(f"{folder}/a.wav", 0.0, 0.5)).shape
        (48, 26)
    """

    def __init__(self, root: Path | str, config: Features) -> None:
        self.root = Path(root)
        self.config = config
        computed = [FEATURES_VERSION, config.model_dump(mode="json")]
        computed += [f"{package} {version}" for package, version in config.versions().items()]
        self._config_json = json.dumps(computed, sort_keys=True)
        self._folder = self.root / hashlib.sha256(self._config_json.encode()).hexdigest()[:16]

    def key(self, segment: Segment) -> str:
        """Hash of the config, :data:`FEATURES_VERSION`, the audio file's bytes, start and end: 64 hexadecimal digits.

        The bytes are hashed by :func:`~convrnn.files.file_hash`. If the file may be headerless, the sample rate at
        which it would be read is included.

        Raises:
            InputError: The audio file is missing, a folder, empty or unreadable.
        """
        times = [None if time is None else float(time) for time in (segment.start, segment.end)]
        content = [self._config_json, file_hash(check_audio_file(segment.file)), *times]
        if segment.headerless_rate is not None:
            content.append(segment.headerless_rate)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def path(self, segment: Segment) -> Path:
        """The path of the segment's features, whether or not they exist.

        Raises:
            InputError: As :meth:`key`.
        """
        key = self.key(segment)
        return self._folder / key[:2] / f"{key}.npy"

    def extract(self, segments: Sequence[Segment], *, jobs: int = 1, on_progress: Progress | None = None) -> None:
        """Computes the features of all segments that are not stored yet.

        A segment that fails does not stop the others; on any error, and on Ctrl-C, everything finished so far is kept.
        Features that are files already (:attr:`~convrnn.features.base.Features.is_stored` is false) are left where they
        are.

        Args:
            segments: The segments to extract; duplicates are allowed.
            jobs: Number of processes; 1 works in this one. The features do not depend on it.
            on_progress: Called in this process after each segment that is found or computed.

        Raises:
            InputError: ``jobs`` is below 1; segments failed, in which case the message gives the first error in the
                order of the segments and the number of others; or, immediately, the store cannot be written or a worker
                process died.
        """
        if jobs < 1:
            raise InputError(f"jobs: expected at least 1, got {jobs}")
        if not self.config.is_stored:
            return
        errors: dict[int, InputError] = {}
        missing: dict[Path, list[int]] = {}
        done = 0

        def report(count: int) -> None:
            nonlocal done
            for _ in range(count):
                done += 1
                if on_progress is not None:
                    on_progress(done, len(segments))

        for position, segment in enumerate(segments):
            try:
                path = self.path(segment)
            except InputError as error:
                errors[position] = error
                report(1)
                continue
            if path in missing:
                missing[path].append(position)
            elif self._is_whole(path):
                report(1)
            else:
                missing[path] = [position]
        work = [(segments[positions[0]], path) for path, positions in missing.items()]

        def finish(index: int, failure: InputError | None) -> None:
            positions = missing[work[index][1]]
            if failure is not None:
                errors.update(dict.fromkeys(positions, failure))
            report(len(positions))

        self._compute(work, jobs, finish)
        if errors:
            first = errors[min(errors)]
            others = len(errors) - 1
            if others == 0:
                raise first
            raise InputError(f"{first}; {others} more segment{'s' if others > 1 else ''} failed too") from first

    def load(self, segment: Segment) -> NDArray[np.float32]:
        """The segment's features, computed first if they are missing or their file is damaged.

        Returns:
            float32 ``[frames, features]``.

        Raises:
            InputError: As :func:`~convrnn.features.extract.extract_features`; or features had to be computed and the
                store cannot be written.
        """
        if not self.config.is_stored:
            return extract_features(segment, self.config)
        path = self.path(segment)
        features = self._read(path)
        if features is None:
            features = extract_features(segment, self.config)
            _write(path, features)
        return features

    def _is_whole(self, path: Path) -> bool:
        """Whether a file exists, has a length of whole frames, and a header that matches its length."""
        try:
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                return self._shape(size, stream.read(_HEADER_BYTES)) is not None
        except OSError:
            # If the cause persists, writing the file again will report it.
            return False

    def _shape(self, size: int, header: bytes) -> tuple[int, int] | None:
        """The shape of the array in a file of this size and header; None if the file is not one of this store."""
        frames, rest = divmod(size - _HEADER_BYTES - _DIGEST_BYTES, 4 * self.config.num_features)
        shape = (frames, self.config.num_features)
        return shape if rest == 0 and frames > 0 and header == _npy_header(*shape) else None

    def _read(self, path: Path) -> NDArray[np.float32] | None:
        """The features in a file; None if it is missing or was changed."""
        try:
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                shape = self._shape(size, stream.read(_HEADER_BYTES))
                if shape is None:
                    return None
                stream.seek(0)
                # Read once, into writable memory that the array keeps.
                content = bytearray(size)
                stream.readinto(content)
        except OSError:
            return None
        array = memoryview(content)[:-_DIGEST_BYTES]
        if _digest(path, array) != content[-_DIGEST_BYTES:]:
            return None
        return np.frombuffer(array, dtype="<f4", offset=_HEADER_BYTES).reshape(shape)

    def _compute(self, work: list[_Work], jobs: int, finish: Callable[[int, InputError | None], None]) -> None:
        """Computes and writes features; calls ``finish`` with the position of each segment and its error, if any."""
        if min(jobs, len(work)) <= 1:
            for index, item in enumerate(work):
                finish(index, _extract(self.config, item))
            return

        def on_event(event: Event) -> None:
            if event.kind == "done":
                finish(event.index, event.value)

        try:
            run_in_processes(_extract, self.config, work, jobs=jobs, on_event=on_event)
        except WorkFailedError as error:
            if error.is_input_error:
                raise InputError(error.message) from error
            if error.details:
                raise
            raise InputError(
                f"{work[error.index][0].file}: {error.message}; finished features are kept; run the same command again "
                "with fewer jobs"
            ) from error


def _extract(config: Features, item: _Work, _report: object = None) -> InputError | None:
    """Computes and writes one segment; returns its error, if any, and raises if the store cannot be written."""
    segment, path = item
    try:
        features = extract_features(segment, config)
    except InputError as error:
        return error
    _write(path, features)
    return None


def _write(path: Path, features: NDArray[np.float32]) -> None:
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers_once(path.parent)
    array = _npy_header(*features.shape) + features.astype("<f4").tobytes()
    # A file damaged by a power failure is detected and replaced, so there is no need to wait for the disk.
    write_atomically(path, array + _digest(path, array), durable=False, leftovers=False)


def _digest(path: Path, array: bytes | memoryview) -> bytes:
    # The name is included so that a file under a wrong name is detected as well.
    digest = hashlib.sha256(path.stem.encode("ascii"))
    digest.update(array)
    return digest.digest()


def _npy_header(frames: int, features: int) -> bytes:
    """The header of a .npy file with an array of this shape, padded by numpy to a fixed length."""
    # Only the header comes from numpy, because numpy.save does not name a full disk as the cause of its error.
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (frames, features)})
    return stream.getvalue()
