"""Findings about audio files, cached on disk, so that checking a corpus again does not decode its files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from convrnn.corpora.fingerprint import FINGERPRINT_VERSION
from convrnn.features.extract import Segment
from convrnn.files import file_hash, remove_leftovers_once, write_atomically, writing

HEARD_VERSION = 2
"""Incremented when other facts are stored, or one of them is computed differently."""

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Heard:
    """Findings about the samples of an utterance, independent of the file's name and location.

    Attributes:
        samples: Number of samples.
        digest: Hash of the samples; None if all are equal.
        fingerprint: uint32 ``[frames]``; None if all samples are equal.
        clipped: Number of samples at full scale if the audio counts as clipped.
        resampled_from: Result of :func:`~convrnn.features.bandwidth.resampled_from`.
    """

    samples: int
    digest: str | None
    fingerprint: NDArray[np.uint32] | None
    clipped: int
    resampled_from: int | None


class HeardStore:
    """A folder with one entry for the segments of a file: ``<root>/heard/<2 hex digits>/<key>``.

    An entry begins with the SHA-256 of the rest; a damaged entry is ignored.

    Args:
        root: The cache folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root / "heard"

    def load(self, segments: Sequence[Segment]) -> list[Heard] | None:
        """The findings about the segments of one file; None if there is no entry."""
        try:
            content = self._path(segments).read_bytes()
        except OSError:
            return None
        payload = content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != content[:_DIGEST_BYTES]:
            return None
        text, _, numbers = payload.partition(b"\n")
        fingerprints = np.frombuffer(numbers, "<u4").astype(np.uint32)
        heard, begin = [], 0
        for samples, digest, frames, clipped, lower in json.loads(text):
            own = None if digest is None else fingerprints[begin : begin + frames]
            heard.append(Heard(samples, digest, own, clipped, lower))
            begin += frames
        return heard

    def save(self, segments: Sequence[Segment], heard: Sequence[Heard]) -> None:
        """Stores findings, unless some of the segments could not be read.

        Raises:
            InputError: If the folder cannot be written.
        """
        if len(heard) < len(segments):
            return
        fingerprints = [np.zeros(0, np.uint32) if own.fingerprint is None else own.fingerprint for own in heard]
        facts = [
            [own.samples, own.digest, len(frames), own.clipped, own.resampled_from]
            for own, frames in zip(heard, fingerprints, strict=True)
        ]
        payload = json.dumps(facts).encode() + b"\n" + np.concatenate(fingerprints).astype("<u4").tobytes()
        path = self._path(segments)
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers_once(path.parent)
        # An entry damaged by a power failure is detected and replaced.
        write_atomically(path, hashlib.sha256(payload).digest() + payload, durable=False, leftovers=False)

    def _path(self, segments: Sequence[Segment]) -> Path:
        """The entry's path, a hash of everything that its content depends on."""
        file = segments[0]
        times = [[segment.start, segment.end] for segment in segments]
        versions = [HEARD_VERSION, FINGERPRINT_VERSION, soundfile.__libsndfile_version__]
        content = json.dumps([versions, file_hash(file.file), file.headerless_rate, times])
        key = hashlib.sha256(content.encode()).hexdigest()
        return self._root / key[:2] / key
