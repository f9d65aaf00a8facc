"""Features on disk, extracted once, in parallel, named by what they were computed from."""

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
from convrnn.features.config import EgemapsConfig, FeatureConfig
from convrnn.features.egemaps import opensmile_version
from convrnn.features.extract import Segment, extract_features
from convrnn.files import file_hash, write_atomically, writing
from convrnn.processes import Event, WorkFailedError, run_in_processes

FEATURES_VERSION = 1
"""Raised when a fix changes the features of the same config and audio; it is part of every key."""

_HEADER_BYTES, _DIGEST_BYTES = 128, 32

Progress = Callable[[int, int], None]
"""Called with how many segments are done, and how many there are."""

_Work = tuple[Segment, Path]


class FeatureStore:
    """A folder of features: ``<root>/<config key>/<2 hex digits>/<key>.npy``, one file per segment.

    A file appears under its name only when it is complete, so that an extraction may be killed at any moment and
    continues where it was. Keys depend on the audio's bytes, not on its place or name: copies share one file.

    A file is an array as numpy saves it, and behind it the SHA-256 of the key and all that comes before. Where that
    does not match, the features are computed anew, and so they are once for files of earlier versions, which had none.

    Args:
        root: Folder of the store, made when first written to; several configs may share it.
        config: What to compute.

    Raises:
        InputError: The config is of eGeMAPS and openSMILE, whose version is part of every key, is not installed.

    Example:
        >>> import tempfile, soundfile
        >>> from convrnn.features.config import LogMelConfig
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/a.wav", np.zeros(16000), 16000)
        ...     store = FeatureStore(Path(folder) / "features", LogMelConfig(sample_rate=16000))
        ...     store.extract([Segment(f"{folder}/a.wav", 0.0, 0.5)])
        ...     store.load(Segment(f"{folder}/a.wav", 0.0, 0.5)).shape
        (48, 26)
    """

    def __init__(self, root: Path | str, config: FeatureConfig) -> None:
        self.root = Path(root)
        self.config = config
        computed = [FEATURES_VERSION, config.model_dump(mode="json")]
        if isinstance(config, EgemapsConfig):
            # openSMILE brings its own configuration, which may change between its versions.
            computed.append(f"opensmile {opensmile_version()}")
        self._config_json = json.dumps(computed, sort_keys=True)
        self._folder = self.root / hashlib.sha256(self._config_json.encode()).hexdigest()[:16]

    def key(self, segment: Segment) -> str:
        """Hash over the config, :data:`FEATURES_VERSION`, the audio file's bytes, start and end: 64 hexadecimal digits.

        The bytes are read as :func:`~convrnn.files.file_hash` does. Where they may be headerless, the rate at which
        they are then read counts too.

        Raises:
            InputError: The audio file is missing, a folder, empty or unreadable.
        """
        times = [None if time is None else float(time) for time in (segment.start, segment.end)]
        content = [self._config_json, file_hash(check_audio_file(segment.file)), *times]
        if segment.headerless_rate is not None:
            content.append(segment.headerless_rate)
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def path(self, segment: Segment) -> Path:
        """Where the segment's features lie, or will lie.

        Raises:
            InputError: As :meth:`key`.
        """
        key = self.key(segment)
        return self._folder / key[:2] / f"{key}.npy"

    def extract(self, segments: Sequence[Segment], *, jobs: int = 1, on_progress: Progress | None = None) -> None:
        """Computes the features of all segments that are not there yet.

        A segment that fails does not stop the others; on any error, also Ctrl-C, everything finished so far is kept.

        Args:
            segments: What to extract; the same one may occur several times.
            jobs: Processes; 1 works in this one. The features are the same for any number.
            on_progress: Called in this process after each segment that is found or computed.

        Raises:
            InputError: ``jobs`` is below 1; or segments failed: the first one's error, in the order given, and how many
                further ones there were; or, at once, the store cannot be written or a worker process died.
        """
        if jobs < 1:
            raise InputError(f"jobs: expected at least 1, got {jobs}")
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
        """The segment's features, computed first where they are missing or their file is damaged.

        Returns:
            float32 ``[frames, features]``.

        Raises:
            InputError: As :func:`~convrnn.features.extract.extract_features`; or features had to be computed and the
                store cannot be written.
        """
        path = self.path(segment)
        features = self._read(path)
        if features is None:
            features = extract_features(segment, self.config)
            _write(path, features)
        return features

    def _is_whole(self, path: Path) -> bool:
        """Whether a file is there, of a length that holds whole frames and with the header that belongs to it."""
        try:
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                return self._shape(size, stream.read(_HEADER_BYTES)) is not None
        except OSError:
            # Whatever keeps it from being read will be named when it is written anew.
            return False

    def _shape(self, size: int, header: bytes) -> tuple[int, int] | None:
        """The shape of the array in a file of this size and header; None where it is none of this store's."""
        frames, rest = divmod(size - _HEADER_BYTES - _DIGEST_BYTES, 4 * self.config.num_features)
        shape = (frames, self.config.num_features)
        return shape if rest == 0 and frames > 0 and header == _npy_header(*shape) else None

    def _read(self, path: Path) -> NDArray[np.float32] | None:
        """The features in a file; None where there is none or it is not as it was written."""
        try:
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                shape = self._shape(size, stream.read(_HEADER_BYTES))
                if shape is None:
                    return None
                stream.seek(0)
                # Read once, into memory that the array keeps and may be written to.
                content = bytearray(size)
                stream.readinto(content)
        except OSError:
            return None
        array = memoryview(content)[:-_DIGEST_BYTES]
        if _digest(path, array) != content[-_DIGEST_BYTES:]:
            return None
        return np.frombuffer(array, dtype="<f4", offset=_HEADER_BYTES).reshape(shape)

    def _compute(self, work: list[_Work], jobs: int, finish: Callable[[int, InputError | None], None]) -> None:
        """Computes and writes; tells the position of each as it is finished, with the error where it failed."""
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
                f"{work[error.index][0].file}: {error.message}; what was finished is kept, and the same command with "
                "fewer jobs continues there"
            ) from error


def _extract(config: FeatureConfig, item: _Work, _report: object = None) -> InputError | None:
    """Computes and writes one segment; returns what is wrong with it, and raises where the store is not writable."""
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
    array = _npy_header(*features.shape) + features.astype("<f4").tobytes()
    # A file that a power failure left half written is noticed and made again, so there is no need to wait for the disk.
    write_atomically(path, array + _digest(path, array), durable=False)


def _digest(path: Path, array: bytes | memoryview) -> bytes:
    # With the name, a file under another's name is noticed too.
    digest = hashlib.sha256(path.stem.encode("ascii"))
    digest.update(array)
    return digest.digest()


def _npy_header(frames: int, features: int) -> bytes:
    """The first bytes of a .npy file with such an array, padded by numpy to one length for all."""
    # numpy's own saving reports a full disk without saying so; its header is all that is needed of it.
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (frames, features)})
    return stream.getvalue()
