"""Speech for the demo corpus from espeak-ng; run as ``python -m convrnn.corpora.demo_synthesis FOLDER``.

It runs as a separate process, because the C library keeps global state, does not survive a fork and kills its process
when it crashes. After each utterance the process prints ``done total`` on a line of standard output.
"""

import csv
import ctypes
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import espeakng_loader
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from convrnn.corpora.demo_plan import INDEX, Speaker, Utterance, plan

SAMPLE_RATE = 16000

# Constants from espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_CHARACTERS_UTF8 = 1
_RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7

_DATA_FILES = ("phondata", "phonindex", "phontab", "intonations", "en_dict")

_OnSamples = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SynthesisError(RuntimeError):
    """espeak-ng reported an error or produced nothing usable."""


class Synthesizer:
    """espeak-ng in this process, with the voices of the demo corpus. At most one instance may exist.

    The working directory changes to ``workspace`` for good: the library copies file names into short fixed-size
    buffers, so it is given relative paths, which do not depend on where the Python environment is installed.

    Args:
        workspace: An empty folder for the library's data and the voice files.

    Raises:
        SynthesisError: The library cannot be loaded or cannot read its data.
    """

    def __init__(self, workspace: Path) -> None:
        data = Path(espeakng_loader.get_data_path())
        (workspace / "espeak-ng-data").mkdir()
        for name in _DATA_FILES:
            shutil.copyfile(data / name, workspace / "espeak-ng-data" / name)
        self._workspace = workspace
        library_path = Path(espeakng_loader.get_library_path()).absolute()
        os.chdir(workspace)
        try:
            self._library = ctypes.CDLL(str(library_path))
        except OSError as error:
            raise SynthesisError(f"espeak-ng cannot be loaded: {error}") from error
        # On POSIX espeak-ng's noise comes from the C library's rand(), which only the C library can seed.
        self._libc = ctypes.CDLL(None) if os.name == "posix" else None
        self._chunks: list[bytes] = []
        self._callback = _OnSamples(self._keep)
        self._native_rate: int = self._library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, b".", _INITIALIZE_DONT_EXIT)
        if self._native_rate <= 0:
            raise SynthesisError(f"espeak-ng cannot read its data in {data}")
        self._library.espeak_SetSynthCallback(self._callback)

    def _keep(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def _set_voice(self, speaker: Speaker) -> None:
        path = self._workspace / speaker.name
        if not path.exists():
            path.write_text(speaker.voice_file(), encoding="utf-8")
        if self._library.espeak_SetVoiceByFile(speaker.name.encode()) != 0:
            raise SynthesisError(f"espeak-ng does not accept the voice {speaker.name}")

    def _synthesise(self, utterance: Utterance) -> NDArray[np.int16]:
        self._chunks.clear()
        self._set_voice(utterance.speaker)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(utterance.seed))
        if self._libc is not None:
            self._libc.srand(ctypes.c_uint(utterance.seed))
        parameters = {
            _RATE: utterance.rate,
            _VOLUME: 60,  # at 100 some voices overflow, and the library's gain control affects later utterances
            _PITCH: utterance.pitch,
            _RANGE: utterance.pitch_range,
            _WORD_GAP: 0,
        }
        for parameter, value in parameters.items():
            if self._library.espeak_SetParameter(parameter, value, 0) != 0:
                raise SynthesisError(f"espeak-ng does not accept {value} for its parameter {parameter}")
        text = utterance.text.encode()
        status = self._library.espeak_Synth(
            text, ctypes.c_size_t(len(text) + 1), 0, _POSITION_CHARACTER, 0, _CHARACTERS_UTF8, None, None
        )
        if status != 0 or self._library.espeak_Synchronize() != 0:
            raise SynthesisError(f"espeak-ng could not speak {utterance.name}")
        return np.frombuffer(b"".join(self._chunks), np.int16)

    def speak(self, utterance: Utterance) -> NDArray[np.int16]:
        """The utterance as 16-bit samples at :data:`SAMPLE_RATE`, background noise included.

        The samples do not depend on what was spoken before.

        Args:
            utterance: The utterance to synthesise.

        Returns:
            int16 ``[samples]``.

        Raises:
            SynthesisError: espeak-ng rejected a voice, a parameter or the text, or produced silence.
        """
        samples = self._synthesise(utterance)
        if samples.size == 0 or not samples.any():
            raise SynthesisError(f"espeak-ng gave silence for {utterance.name}")
        speech: NDArray[np.float32] = soxr.resample(
            samples.astype(np.float32) / 32768.0, self._native_rate, SAMPLE_RATE
        )
        return _record(speech, utterance)


def _record(speech: NDArray[np.float32], utterance: Utterance) -> NDArray[np.int16]:
    """Applies the level, adds the background noise and converts to 16 bits.

    Without noise, pauses would be digital silence, whose log energies dwarf those of speech.
    """
    # The raw output of a bit generator is the same in every version of NumPy; its normal deviates are not.
    words = np.random.PCG64(utterance.seed).random_raw(speech.size).view(np.uint16).reshape(-1, 4)
    noise = (words.astype(np.float64).sum(axis=1) / 65535.0 - 2.0) * math.sqrt(3.0)  # close to normal, deviation 1
    level = 10.0 ** (utterance.speaker.noise_db / 20.0)
    gain = 0.6 * 10.0 ** (utterance.gain_db / 20.0)
    mixed = gain * speech.astype(np.float64) + level * noise
    levels: NDArray[np.int16] = np.round(np.clip(mixed, -1.0, 1.0) * 32767.0).astype(np.int16)
    return levels


def synthesise(utterances: Sequence[Utterance], folder: Path) -> None:
    """Writes ``<name>.wav`` for each utterance into the existing ``folder``, then the table :data:`INDEX`.

    Changes the working directory of the process; see :class:`Synthesizer`.
    """
    folder = folder.absolute()
    with tempfile.TemporaryDirectory(prefix="convrnn-demo-", ignore_cleanup_errors=True) as workspace:
        home = Path.cwd()
        try:
            synthesizer = Synthesizer(Path(workspace))
            for done, utterance in enumerate(utterances, start=1):
                samples = synthesizer.speak(utterance)
                soundfile.write(folder / f"{utterance.name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
                print(done, len(utterances), flush=True)
        finally:
            os.chdir(home)
    with (folder / INDEX).open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "speaker", "partition", "gender", "arousal", "text"])
        for utterance in utterances:
            speaker = utterance.speaker
            row = [f"{utterance.name}.wav", speaker.name, speaker.partition, speaker.gender, utterance.arousal]
            writer.writerow([*row, utterance.text])


if __name__ == "__main__":
    synthesise(plan(), Path(sys.argv[1]))
