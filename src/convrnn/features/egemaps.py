"""The 25 low-level descriptors of eGeMAPSv02, computed by openSMILE where that is installed.

openSMILE is not part of this package: its licence is its own (:data:`LICENCE`), and it is loaded when the first
descriptors are computed.
"""

import functools
import hashlib
import re
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
_CONFIGURATION = Path("egemaps/v02/eGeMAPSv02.conf")
_FRAMES = Path("gemaps/v01b/GeMAPSv01b_core.lld.conf.inc")
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
    samples = full_scale_one(samples)
    rate = config.sample_rate
    if 1000 * len(samples) < config.frame_ms * rate:
        raise ValueError(f"{len(samples)} samples at {rate} Hz are less than one frame of {config.frame_ms} ms")
    clipped = np.clip(samples, -1, _LARGEST)
    missing = -(-_LONG_FRAME_MS * rate // 1000) - len(clipped)
    found: NDArray[np.float32] = extractor(config.frame_ms)(np.pad(clipped, (0, max(0, missing))), rate)[0]
    if not np.isfinite(found).all():
        descriptor, frame = np.argwhere(~np.isfinite(found))[0]
        raise ValueError(f"openSMILE gives {found[descriptor, frame]} for {DESCRIPTORS[descriptor]} in frame {frame}")
    return np.ascontiguousarray(found.T, dtype=np.float32)


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
def extractor(frame_ms: int) -> Any:  # noqa: ANN401 - opensmile has no types
    """The extractor of openSMILE with short frames of that length; one per process, since making it takes a while.

    Args:
        frame_ms: 20 for the installed configuration; 25 for a copy of it under the cache folder
            (:func:`~convrnn.cache.default_cache_dir`) in which that one number is changed.

    Raises:
        InputError: openSMILE is not installed, cannot be loaded, has not the configuration that is known here, lies in
            a folder that it cannot read itself, or the copy cannot be written.
    """
    installed = opensmile_version()
    try:
        import opensmile
    except (ImportError, OSError, RuntimeError) as error:
        raise InputError(f"openSMILE {installed} cannot be loaded ({error}); {_INSTALL}") from error
    _check_path(Path(opensmile.__file__).parent, "install it in another folder")
    level = opensmile.FeatureLevel.LowLevelDescriptors
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, level)
    names = tuple(name.partition("_sma3")[0] for name in smile.feature_names)
    if names != DESCRIPTORS:
        raise InputError(
            f"openSMILE {installed} has other descriptors in eGeMAPSv02 than the {len(DESCRIPTORS)} known here: "
            f"{', '.join(names)}"
        )
    if frame_ms == 20:
        return smile
    return opensmile.Smile(str(copy_with_25_ms(Path(smile.default_config_root)) / _CONFIGURATION), level)


def copy_with_25_ms(installed: Path) -> Path:
    """Copy openSMILE's configuration into the cache, with 25 ms where the short frames have 20 ms.

    The copy's folder is named by its content, and a file of it that is missing or damaged is written anew.

    Args:
        installed: The folder of openSMILE's configuration files.

    Returns:
        The folder of the copy.

    Raises:
        InputError: The one line to change is not there as known, or the copy cannot be written, or not where openSMILE
            can read it.
    """
    contents = {
        file.relative_to(installed): file.read_bytes() for file in sorted(installed.rglob("*")) if file.is_file()
    }
    text, changed = _SHORT_FRAME.subn(r"\g<before>0.025", contents.get(_FRAMES, b"").decode("utf-8", "surrogateescape"))
    if changed != 1:
        raise InputError(
            f"{installed / _FRAMES}: openSMILE {opensmile_version()} has no frames of 20 ms where version 2.6.0 has "
            "them, so they cannot be made 25 ms long; use --features egemaps"
        )
    contents[_FRAMES] = text.encode("utf-8", "surrogateescape")
    digest = hashlib.sha256()
    for name, content in contents.items():
        digest.update(f"{name.as_posix()}\0{len(content)}\0".encode() + content)
    folder = default_cache_dir().absolute() / "opensmile" / digest.hexdigest()[:16]
    _check_path(folder, "choose another folder for the cache with CONVRNN_CACHE")
    for name, content in contents.items():
        file = folder / name
        if not (file.is_file() and file.read_bytes() == content):
            with writing(file.parent):
                file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, content, durable=False)
    return folder


def _check_path(folder: Path, advice: str) -> None:
    if not str(folder).isascii():
        raise InputError(f"{folder}: openSMILE reads files from folders with ASCII names only; {advice}")
