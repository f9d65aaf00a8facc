"""The 25 low-level descriptors of eGeMAPSv02, computed by openSMILE where that is installed.

openSMILE is not part of this package: its licence is its own (:data:`LICENCE`), and it is loaded when the first
descriptors are computed.
"""

import functools
import hashlib
import re
import threading
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convrnn.cache import default_cache_dir
from convrnn.errors import InputError
from convrnn.features.config import DESCRIPTORS, EgemapsConfig
from convrnn.features.samples import full_scale_one
from convrnn.files import write_atomically, writing

LICENCE = (
    "eGeMAPS features are computed by openSMILE (audEERING GmbH); its licence is for research and non-commercial use, "
    "also of models trained on its features: see LICENSE in the package opensmile"
)
"""What whoever uses these features has to be told once."""

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


def egemaps(samples: NDArray[Any], config: EgemapsConfig) -> NDArray[np.float32]:
    """The descriptors of every frame, in the order of :data:`~convrnn.features.config.DESCRIPTORS`.

    openSMILE takes samples to 16 bits by cutting off the rest and lets what is out of range wrap around, so they are
    clipped to [-1, 1 - 2⁻¹⁵] first. It starts anew for every recording: the same samples give the same bits. A
    recording shorter than the long frames of 60 ms is followed by digital silence up to that length. Digital silence
    gives finite values: openSMILE's floors, 0 for most descriptors.

    Args:
        samples: ``[samples]``, mono, at ``config.sample_rate``, of a dtype that
            :func:`~convrnn.features.samples.full_scale_one` knows.
        config: Frames and sample rate.

    Returns:
        float32 ``[frames, 25]``, with ``floor((duration - 60 ms) / 10 ms) + 2`` frames, where openSMILE rounds both
        lengths to whole samples. At least 2.

    Raises:
        InputError: openSMILE is not installed, cannot be loaded, or has not the configuration that is known here.
        ValueError: There is less than one short frame of samples, they are none that ``full_scale_one`` takes, or a
            descriptor is not finite.

    Example:
        >>> egemaps(np.zeros(16000), EgemapsConfig(sample_rate=16000)).shape
        (96, 25)
    """
    return egemaps_of_blocks([full_scale_one(samples)], config)


def egemaps_of_blocks(blocks: Iterable[NDArray[np.float32]], config: EgemapsConfig) -> NDArray[np.float32]:
    """:func:`egemaps` of samples that come one block after the other; the same bits for blocks of any size.

    One block at a time is held, and the frames.

    Args:
        blocks: Each float32 ``[samples]``, mono, full scale 1, as :func:`~convrnn.features.audio.audio_blocks` gives
            them.
        config: Frames and sample rate.

    Returns:
        float32 ``[frames, 25]``.

    Raises:
        InputError: As :func:`egemaps`, or what ``blocks`` raises.
        ValueError: As :func:`egemaps`, or a block is of another kind.

    Example:
        >>> egemaps_of_blocks(np.split(np.zeros(16000, np.float32), [10000]), EgemapsConfig(sample_rate=16000)).shape
        (96, 25)
    """
    frames = _run(_of_16_bits(blocks, config), config)
    if not np.isfinite(frames).all():
        frame, descriptor = np.argwhere(~np.isfinite(frames))[0]
        raise ValueError(f"openSMILE gives {frames[frame, descriptor]} for {DESCRIPTORS[descriptor]} in frame {frame}")
    return frames


def _of_16_bits(blocks: Iterable[NDArray[np.float32]], config: EgemapsConfig) -> Iterator[bytes]:
    """What openSMILE takes, a tenth of a second at a time, at least one long frame in all."""
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
    """The frames that openSMILE makes of 16-bit samples; it runs in a thread of its own while they are read here."""
    smile = _start(config.frame_ms, config.sample_rate)
    frames = bytearray()
    failed: list[Exception] = []

    def run() -> None:
        try:
            smile.run()
        except Exception as error:  # noqa: BLE001 - raised again below, in the thread that waits
            failed.append(error)

    smile.external_sink_set_callback_ex("sink", lambda frame, _: frames.extend(frame.tobytes()))
    thread = threading.Thread(target=run, name="openSMILE", daemon=True)
    thread.start()
    try:
        for part in samples:
            # Refused while there is no room for it: openSMILE is behind.
            while not smile.external_audio_source_write_data("source", part) and thread.is_alive():
                time.sleep(0.001)
        smile.external_audio_source_set_eoi("source")
        thread.join()
    finally:
        if thread.is_alive():
            smile.abort()
            thread.join()
        smile.free()
    if failed:
        raise ValueError(f"openSMILE fails: {failed[0]}")
    return np.frombuffer(frames, np.float32).reshape(-1, len(DESCRIPTORS)).copy()


def opensmile_version() -> str:
    """The version of the installed openSMILE package, found without loading it.

    Raises:
        InputError: It is not installed; the sentence says how to.
    """
    try:
        return version("opensmile")
    except PackageNotFoundError:
        raise InputError(f"eGeMAPS features need openSMILE, which is not installed; {_INSTALL}") from None


@functools.cache
def load_opensmile(frame_ms: int) -> dict[str, str]:
    """Load openSMILE and check that its descriptors are the known ones; once per process, since it takes a while.

    Args:
        frame_ms: Length of the short frames: 20 as in the installed configuration; 25 for a copy of its file with that
            one number changed, under the cache folder (:func:`~convrnn.cache.default_cache_dir`).

    Returns:
        openSMILE's options that name the files of its configuration.

    Raises:
        InputError: openSMILE is not installed, cannot be loaded, has not the configuration that is known here, lies in
            a folder that it cannot read itself, or the copy cannot be written.
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
        # openSMILE's own choice for these levels is to keep every frame, for functionals that are not computed here.
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
    """Copy openSMILE's file with the short frames into the cache, with 25 ms where it has 20 ms.

    The copy's folder is named by its content, and a copy that is missing or damaged is written anew.

    Args:
        installed: The folder of openSMILE's configuration files.

    Returns:
        The copy.

    Raises:
        InputError: The one line to change is not there as known, or the copy cannot be written, or not where openSMILE
            can read it.
    """
    file = installed / _GEMAPS
    content = file.read_text("utf-8", "surrogateescape") if file.is_file() else ""
    text, changed = _SHORT_FRAME.subn(r"\g<before>0.025", content)
    if changed != 1:
        raise InputError(
            f"{file}: openSMILE {opensmile_version()} has no frames of 20 ms where version 2.6.0 has them, so they "
            "cannot be made 25 ms long; use --features egemaps"
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
    """An openSMILE that waits for samples; whoever asked for it frees it."""
    options = load_opensmile(frame_ms)
    from opensmile.core.lib import OpenSMILE

    smile = OpenSMILE()
    rate = {"sampleRate": sample_rate, "keptSamples": _KEPT_SECONDS * sample_rate}
    smile.initialize(str(_OUR_CONFIGURATION), options | rate)
    return smile


def _check_path(folder: Path, advice: str) -> None:
    if not str(folder).isascii():
        raise InputError(f"{folder}: openSMILE reads files from folders with ASCII names only; {advice}")
