"""Features on disk, extracted once, in parallel, named by what they were computed from."""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convrnn.errors import InputError
from convrnn.features.audio import check_audio_file
from convrnn.features.config import FeatureConfig
from convrnn.features.extract import Segment, extract_features

FEATURES_VERSION = 1
"""Raised when a fix changes the features of the same config and audio; it is part of every key."""

_HEADER_BYTES = 128

Progress = Callable[[int, int], None]
"""Called with how many segments are done, and how many there are."""


class StoreWriteError(InputError):
    """The folder of a store cannot be written: disk full, no permission, not a folder."""


class FeatureStore:
    """A folder of features: ``<root>/<config key>/<2 hex digits>/<key>.npy``, one file per segment.

    A file appears under its name only when it is complete, so that an extraction may be killed at any moment and
    continues where it was. Keys depend on the audio's bytes, not on its place or name: copies share one file.

    Args:
        root: Folder of the store, made when first written to; several configs may share it.
        config: What to compute.

    Example:
        >>> import tempfile, soundfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/a.wav", np.zeros(16000), 16000)
        ...     store = FeatureStore(Path(folder) / "features", FeatureConfig(sample_rate=16000))
        ...     store.extract([Segment(f"{folder}/a.wav", 0.0, 0.5)])
        ...     store.load(Segment(f"{folder}/a.wav", 0.0, 0.5)).shape
        (48, 26)
    """

    def __init__(self, root: Path | str, config: FeatureConfig) -> None:
        self.root = Path(root)
        self.config = config
        self._config_json = json.dumps([FEATURES_VERSION, config.model_dump(mode="json")], sort_keys=True)
        self._folder = self.root / hashlib.sha256(self._config_json.encode()).hexdigest()[:16]
        self._audio_hashes: dict[str, tuple[tuple[int, int], str]] = {}

    def key(self, segment: Segment) -> str:
        """Hash over the config, :data:`FEATURES_VERSION`, the audio file's bytes, start and end: 64 hexadecimal digits.

        The bytes are read once per instance, and again when the file's size or time of change differ.

        Raises:
            InputError: The audio file is missing, a folder, empty or unreadable.
        """
        times = [None if time is None else float(time) for time in (segment.start, segment.end)]
        content = [self._config_json, self._audio_hash(segment.file), *times]
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
            jobs: Processes; 1 works in this one. The features are the same for any number. As with every process pool,
                a script that asks for more must guard its start with ``if __name__ == "__main__"``.
            on_progress: Called in this process after each segment that is found or computed.

        Raises:
            InputError: ``jobs`` is below 1; or segments failed: the first one's error, in the order given, and how many
                further ones there were.
            StoreWriteError: The store cannot be written; stops at once.
            RuntimeError: A worker process died.
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
        with contextlib.closing(self._computed(work, jobs)) as computed:
            for path, failure in computed:
                if failure is not None:
                    errors.update(dict.fromkeys(missing[path], failure))
                report(len(missing[path]))
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
            InputError: As :func:`~convrnn.features.extract.extract_features`.
            StoreWriteError: Features had to be computed and the store cannot be written.
        """
        path = self.path(segment)
        if not self._is_whole(path):
            _extract_to(segment, self.config, path, self.root)
        features: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return features

    def _audio_hash(self, file: str) -> str:
        """Hash of a file's bytes, remembered."""
        path = check_audio_file(file)
        try:
            status = path.stat()
            signature = (status.st_size, status.st_mtime_ns)
            known = self._audio_hashes.get(file)
            if known is not None and known[0] == signature:
                return known[1]
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{file}: audio file cannot be read ({error.strerror or error})") from error
        self._audio_hashes[file] = (signature, digest)
        return digest

    def _is_whole(self, path: Path) -> bool:
        """Whether a file is there, of a length that holds whole frames and with the header that belongs to it."""
        try:
            with path.open("rb") as stream:
                frames, rest = divmod(os.fstat(stream.fileno()).st_size - _HEADER_BYTES, 4 * self.config.num_features)
                header = stream.read(_HEADER_BYTES)
        except OSError:
            # Whatever keeps it from being read will be named when it is written anew.
            return False
        return rest == 0 and frames > 0 and header == _npy_header(frames, self.config.num_features)

    def _computed(self, work: list[tuple[Segment, Path]], jobs: int) -> Generator[tuple[Path, InputError | None]]:
        """Computes and writes; yields each path as it is finished, with the error of a segment that failed."""
        jobs = min(jobs, len(work))
        if jobs <= 1:
            for segment, path in work:
                yield path, _try_extract_to(segment, self.config, path, self.root)
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
        try:
            futures: dict[Future[InputError | None], Path] = {}
            with _interrupts_blocked():
                for segment, path in work:
                    futures[pool.submit(_try_extract_to, segment, self.config, path, self.root)] = path
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process extracting features died (out of memory?); what was finished is kept, and the same command "
                "with fewer jobs continues there"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _try_extract_to(segment: Segment, config: FeatureConfig, path: Path, root: Path) -> InputError | None:
    """As :func:`_extract_to`, but returns what is wrong with the segment; only an unwritable store still raises."""
    try:
        _extract_to(segment, config, path, root)
    except StoreWriteError:
        raise
    except InputError as error:
        return error
    return None


def _extract_to(segment: Segment, config: FeatureConfig, path: Path, root: Path) -> None:
    """Computes a segment's features and puts them at ``path`` in one step."""
    features = extract_features(segment, config)
    content = _npy_header(*features.shape) + features.astype("<f4").tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, content)
    except OSError as error:
        raise StoreWriteError(f"{root}: features cannot be stored here ({error.strerror or error})") from error


def _npy_header(frames: int, features: int) -> bytes:
    """The first bytes of a .npy file with such an array, padded by numpy to one length for all."""
    # numpy's own saving reports a full disk without saying so; its header is all that is needed of it.
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (frames, features)})
    return stream.getvalue()


def _write_atomically(path: Path, content: bytes) -> None:
    """Writes a temporary file beside ``path`` and renames it; removes it if anything comes between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent and ends the process with it: else workers outlive a parent that was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Holds Ctrl-C back; processes started meanwhile never see it, so they print no tracebacks of their own."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
