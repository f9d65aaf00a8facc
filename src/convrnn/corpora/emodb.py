"""The Berlin Database of Emotional Speech (Burkhardt et al. 2005)."""

import re
from pathlib import Path

import pandas as pd

from convrnn.corpora.corpus import Corpus
from convrnn.errors import InputError

EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
"""The class for each emotion letter in a file name, the initial of a German word."""

# 03a01Fa.wav: speaker 03, sentence a01, emotion F, version a.
_FILE_NAME = re.compile(r"(?P<speaker>\d\d)[ab]\d\d(?P<emotion>[WLEAFTN])[a-z]?\.wav", re.IGNORECASE)


def open_emodb(path: Path | str, *, name: str | None = None) -> Corpus:
    """Opens EmoDB in its original folder.

    535 German utterances by 10 speakers, one task, ``emotion``, with seven classes; no partitions.

    Args:
        path: The folder that holds ``wav/``, or ``wav`` itself.
        name: Name of the corpus; by default ``emodb:PATH``.

    Raises:
        InputError: If there is no such folder, if it holds no wav file, or if a file name is not one of EmoDB's.
    """
    path = Path(path)
    folder = path / "wav" if (path / "wav").is_dir() else path
    if not folder.is_dir():
        raise InputError(f"emodb: {path} is not a folder; give EmoDB's folder, the one that holds wav/")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() == ".wav" and file.name[0] != ".")
    if not files:
        raise InputError(f"emodb: {path} holds no wav files; give EmoDB's folder, the one that holds wav/")
    speakers, emotions = [], []
    for file in files:
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            letters = "".join(EMOTIONS)
            raise InputError(
                f"emodb: {file} is not a file name of EmoDB: speaker, sentence, one emotion letter of {letters}, "
                "version, such as 03a01Fa.wav"
            )
        speakers.append(match["speaker"])
        emotions.append(EMOTIONS[match["emotion"].upper()])
    columns = {"id": [file.name for file in files], "file": files, "speaker": speakers, "emotion": emotions}
    return Corpus.from_table(pd.DataFrame(columns, dtype=object), name=name or f"emodb:{path}")
