"""The 25 low-level descriptors of eGeMAPSv02, computed by openSMILE if it is installed.

openSMILE is not part of this package: it has its own licence (:data:`LICENCE`), and it is loaded only when descriptors
are first computed.
"""

import contextlib
import functools
import hashlib
import re
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import override

from convrnn.cache import default_cache_dir
from convrnn.errors import Argument, InputError
from convrnn.features.base import SAMPLE_RATES, AudioFeatures
from convrnn.files import write_atomically, writing

LICENCE = (
    "eGeMAPS features are computed by openSMILE (audEERING GmbH); its licence is for research and non-commercial use, "
    "also of models trained on its features: see LICENSE in the package opensmile"
)
"""The licence notice shown once to users of these features."""

DESCRIPTORS = (
    "Loudness",
    "alphaRatio",
    "hammarbergIndex",
    "slope0-500",
    "slope500-1500",
    "spectralFlux",
    "mfcc1",
    "mfcc2",
    "mfcc3",
    "mfcc4",
    "F0semitoneFrom27.5Hz",
    "jitterLocal",
    "shimmerLocaldB",
    "HNRdBACF",
    "logRelF0-H1-H2",
    "logRelF0-H1-A3",
    "F1frequency",
    "F1bandwidth",
    "F1amplitudeLogRelF0",
    "F2frequency",
    "F2bandwidth",
    "F2amplitudeLogRelF0",
    "F3frequency",
    "F3bandwidth",
    "F3amplitudeLogRelF0",
)
"""The low-level descriptors of eGeMAPSv02 in openSMILE's order, without the suffix for their smoothing."""

_INSTALL = "run: pip install 'convrnn[egemaps]'"
_LARGEST = 1 - 2**-15
_LONG_FRAME_MS = 60
_KEPT_SECONDS = 10
_OUR_CONFIGURATION = Path(__file__).with_name("egemaps.conf")
_GEMAPS = Path("gemaps/v01b/GeMAPSv01b_core.lld.conf.inc")
_EGEMAPS = Path("egemaps/v02/eGeMAPSv02_core.lld.conf.inc")
_SHORT_FRAME = re.compile(
    r"^(?P<before>\[gemapsv01b_frame25:cFramer\][^\S\n]*\n(?:(?!\[).*\n)*?frameSize[^\S\n]*=[^\S\n]*)0\.020(?=\s)",
    re.MULTILINE,
)


class EgemapsConfig(AudioFeatures):
    """The 25 low-level descriptors of eGeMAPSv02, as openSMILE computes them, in the order of :data:`DESCRIPTORS`.

    One frame every 10 ms. Loudness, spectral shape, MFCCs and formants come from frames of 20 ms in the library's own
    configuration and of 25 ms in the paper's text; F0, jitter, shimmer, HNR and harmonics from frames of 60 ms in both.
    There are ``floor((duration - 60 ms) / 10 ms) + 2`` frames, where openSMILE rounds both lengths to whole samples; at
    least 2, since recordings shorter than 60 ms are padded with digital silence.

    openSMILE truncates samples to 16 bits and lets values out of range wrap around, so samples are first clipped to
    [-1, 1 - 2⁻¹⁵]. It is restarted for every recording, so that the same samples give the same bits. Digital silence
    gives finite values: openSMILE's floors, 0 for most descriptors.

    Attributes:
        sample_rate: Hz, 8000 to 768000, since F3 and the spectral ratios reach 4 kHz and beyond; audio with another
            rate is resampled to it.
        frame_ms: Length of the short frames in milliseconds: 20 (openSMILE's configuration) or 25 (the paper's text).

    Raises:
        pydantic.ValidationError: A field is unknown or its value is not allowed.

    Example:
        >>> config = EgemapsConfig(sample_rate=16000)
        >>> config.name, config.num_features
        ('egemaps', 25)
        >>> EgemapsConfig(sample_rate=16000, frame_ms=25).name
        'egemaps-25ms'
    """

    kind: Literal["egemaps"] = "egemaps"
    sample_rate: int = Field(ge=8000, le=SAMPLE_RATES[1])
    frame_ms: Literal[20, 25] = 20

    licence: ClassVar[str] = LICENCE
    is_slow: ClassVar[bool] = True

    @property
    @override
    def description(self) -> str:
        return (
            f"eGeMAPS ({len(DESCRIPTORS)} low-level descriptors by openSMILE, frames of {self.frame_ms} and 60 ms) at "
            f"{self.sample_rate} Hz"
        )

    @property
    @override
    def num_features(self) -> int:
        return len(DESCRIPTORS)

    @property
    @override
    def shift_ms(self) -> float:
        """Distance between the starts of neighbouring frames in milliseconds."""
        return 10.0

    @override
    def load(self) -> None:
        load_opensmile(self.frame_ms)

    @override
    def versions(self) -> dict[str, str]:
        # openSMILE ships its own configuration, which may change between versions.
        return {"opensmile": opensmile_version()}

    @override
    def compute(self, blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Computes the descriptors of every frame; only one block of samples is held in memory.

        Example:
            >>> EgemapsConfig(sample_rate=16000).compute(np.split(np.zeros(16000, np.float32), [10000])).shape
            (96, 25)
        """
        frames = _run(_of_16_bits(blocks, self), self)
        if not np.isfinite(frames).all():
            frame, descriptor = np.argwhere(~np.isfinite(frames))[0]
            raise ValueError(
                f"openSMILE gives {frames[frame, descriptor]} for {DESCRIPTORS[descriptor]} in frame {frame}"
            )
        return frames


def _of_16_bits(blocks: Iterable[NDArray[np.float32]], config: EgemapsConfig) -> Iterator[bytes]:
    """Samples as openSMILE's 16-bit input, a tenth of a second at a time, padded to at least one long frame."""
    rate = config.sample_rate
    heard = 0
    for block in blocks:
        if block.ndim != 1 or block.dtype != np.float32:
            raise ValueError(f"expected blocks of float32 [samples]; got {block.dtype} of shape {block.shape}")
        heard += len(block)
        for start in range(0, len(block), rate // 10):
            part = np.clip(block[start : start + rate // 10], -1, np.float32(_LARGEST))
            yield (part * np.float32(32768)).astype(np.int16).tobytes()
    if 1000 * heard < config.frame_ms * rate:
        raise ValueError(f"{heard} samples at {rate} Hz are less than one frame of {config.frame_ms} ms")
    missing = -(-_LONG_FRAME_MS * rate // 1000) - heard
    if missing > 0:
        yield bytes(2 * missing)


def _run(samples: Iterable[bytes], config: EgemapsConfig) -> NDArray[np.float32]:
    """The frames that openSMILE computes from 16-bit samples; it runs in a separate thread while they are read here."""
    smile = _start(config.frame_ms, config.sample_rate)
    from opensmile.core.lib import OpenSmileException

    frames = bytearray()
    failed: list[Exception] = []

    def run() -> None:
        try:
            smile.run()
        except Exception as error:  # noqa: BLE001 - re-raised below, in the waiting thread
            failed.append(error)

    smile.external_sink_set_callback_ex("sink", lambda frame, _: frames.extend(frame.tobytes()))
    thread = threading.Thread(target=run, name="openSMILE", daemon=True)
    thread.start()
    try:
        for part in samples:
            # Refused while openSMILE's buffer is full.
            while not smile.external_audio_source_write_data("source", part) and thread.is_alive():
                time.sleep(0.001)
        smile.external_audio_source_set_eoi("source")
        thread.join()
    finally:
        while thread.is_alive():
            # Refused until the thread has started openSMILE.
            with contextlib.suppress(OpenSmileException):
                smile.abort()
            thread.join(0.001)
        smile.free()
    if failed:
        raise ValueError(f"openSMILE fails: {failed[0]}")
    return np.frombuffer(frames, np.float32).reshape(-1, len(DESCRIPTORS)).copy()


def opensmile_version() -> str:
    """The version of the installed openSMILE package, found without loading it.

    Raises:
        InputError: openSMILE is not installed; the message says how to install it.
    """
    try:
        return version("opensmile")
    except PackageNotFoundError:
        raise InputError(f"eGeMAPS features need openSMILE, which is not installed; {_INSTALL}") from None


@functools.cache
def load_opensmile(frame_ms: int) -> dict[str, str]:
    """Loads openSMILE and checks that its descriptors are as expected; cached per process, since it takes a while.

    Args:
        frame_ms: Length of the short frames: 20, as in the installed configuration, or 25, for which a copy of its file
            with that number changed is used, in the cache folder (:func:`~convrnn.cache.default_cache_dir`).

    Returns:
        openSMILE's options with the paths of its configuration files.

    Raises:
        InputError: openSMILE is not installed, cannot be loaded, has an unknown configuration, is in a folder that it
            cannot read itself, or the copy cannot be written.
    """
    installed = opensmile_version()
    try:
        import opensmile
        import opensmile.core.lib
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(f"openSMILE {installed} cannot be loaded ({error}); {_INSTALL}") from error
    folder = Path(opensmile.__file__).parent
    _check_path(folder, "install it in another folder")
    _check_path(_OUR_CONFIGURATION.parent, "install convrnn in another folder")
    root = folder / "core" / "config"
    buffers = root / "shared"
    options = {
        "gemaps": str(root / _GEMAPS if frame_ms == 20 else copy_with_25_ms(root)),
        "egemaps": str(root / _EGEMAPS),
        "bufferModeRbConf": str(buffers / "BufferModeRb.conf.inc"),
        "bufferModeRbLagConf": str(buffers / "BufferModeRbLag.conf.inc"),
        # By default openSMILE keeps every frame of these levels, for functionals that are not computed here.
        "bufferModeConf": str(buffers / "BufferModeRb.conf.inc"),
    }
    smile = opensmile.core.lib.OpenSMILE()
    try:
        smile.initialize(str(_OUR_CONFIGURATION), options)
        names = [
            smile.external_sink_get_element_name("sink", index).partition("_sma3")[0]
            for index in range(smile.external_sink_get_num_elements("sink"))
        ]
    except opensmile.core.lib.OpenSmileException as error:
        raise InputError(f"openSMILE {installed} cannot read its configuration of eGeMAPSv02 ({error})") from error
    finally:
        smile.free()
    if tuple(names) != DESCRIPTORS:
        raise InputError(
            f"openSMILE {installed} has other descriptors in eGeMAPSv02 than the {len(DESCRIPTORS)} known here: "
            f"{', '.join(names)}"
        )
    return options


def copy_with_25_ms(installed: Path) -> Path:
    """Copies openSMILE's configuration of the short frames into the cache, with 25 ms instead of 20 ms.

    The copy's folder is named by its content; a missing or damaged copy is replaced.

    Args:
        installed: The folder of openSMILE's configuration files.

    Returns:
        The path of the copy.

    Raises:
        InputError: The line to change is not as expected, the copy cannot be written, or openSMILE cannot read its
            path.
    """
    file = installed / _GEMAPS
    content = file.read_text("utf-8", "surrogateescape") if file.is_file() else ""
    text, changed = _SHORT_FRAME.subn(r"\g<before>0.025", content)
    if changed != 1:
        raise InputError(
            f"{file}: openSMILE {opensmile_version()} has no frames of 20 ms where version 2.6.0 has them, so they "
            "cannot be made 25 ms long; use ",
            Argument("features", "egemaps"),
        )
    new = text.encode("utf-8", "surrogateescape")
    folder = default_cache_dir().absolute() / "opensmile" / hashlib.sha256(new).hexdigest()[:16]
    _check_path(folder, "choose another folder for the cache with CONVRNN_CACHE")
    copy = folder / _GEMAPS.name
    if not (copy.is_file() and copy.read_bytes() == new):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_atomically(copy, new, durable=False)
    return copy


def _start(frame_ms: int, sample_rate: int) -> Any:  # noqa: ANN401 - opensmile has no types
    """Starts an openSMILE instance that waits for samples; the caller must free it."""
    options = load_opensmile(frame_ms)
    from opensmile.core.lib import OpenSMILE

    smile = OpenSMILE()
    rate = {"sampleRate": sample_rate, "keptSamples": _KEPT_SECONDS * sample_rate}
    smile.initialize(str(_OUR_CONFIGURATION), options | rate)
    return smile


def _check_path(folder: Path, advice: str) -> None:
    if not str(folder).isascii():
        raise InputError(f"{folder}: openSMILE reads files from folders with ASCII names only; {advice}")
