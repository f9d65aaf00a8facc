"""The recordings that a command is given."""

from collections.abc import Sequence
from pathlib import Path

from convrnn.cli.console import say, warn
from convrnn.corpora.recording import Fault
from convrnn.errors import Argument, InputError
from convrnn.features.extract import Segment
from convrnn.features.normalise import NormalisePolicy
from convrnn.training.predict import doubts_of_recordings, doubts_of_speakers
from convrnn.training.recordings import read_list


def recordings(
    files: Sequence[Path], speaker: str | None, policy: NormalisePolicy
) -> tuple[list[Segment], list[str] | None]:
    """The recordings, and their speakers if known.

    Args:
        files: audio files, or one ``.csv`` that lists them.
        speaker: the speaker of all files, if given.
        policy: how features are standardised.

    Raises:
        InputError: for a list that cannot be used, and for unknown speakers if features are standardised per speaker.
    """
    segments, speakers = _listed(files, speaker)
    if policy != "speaker" and speaker is not None:
        say(f"--speaker {speaker} has no effect, since features are standardised per {policy}")
    if policy == "speaker" and speakers is None:
        raise InputError(
            "features are standardised per speaker: give ",
            Argument("speaker", "NAME"),
            " if all files are of one speaker, or one .csv with columns file and speaker; ",
            Argument("normalise", "utterance"),
            " needs no speakers, but its statistics differ from those that the model was trained with",
        )
    return segments, speakers


def warn_of_doubts(faults: Sequence[Sequence[Fault]], speakers: Sequence[str] | None) -> None:
    """Warn about what makes results doubtful.

    Args:
        faults: those of each recording.
        speakers: the speaker of each recording, if features are standardised per speaker.
    """
    if speakers is not None:
        for sentence in doubts_of_speakers(speakers, faults):
            warn(sentence)
    for sentence in doubts_of_recordings(faults):
        warn(sentence)


def _listed(files: Sequence[Path], speaker: str | None) -> tuple[list[Segment], list[str] | None]:
    lists = [file for file in files if file.suffix.lower() == ".csv"]
    if not lists:
        return [Segment(str(file)) for file in files], None if speaker is None else [speaker] * len(files)
    if len(files) > 1:
        raise InputError(f"{lists[0]}: a .csv has to be the only FILE, but there are {len(files)}")
    segments, speakers = read_list(lists[0])
    if speaker is not None:
        if speakers is not None:
            raise InputError(
                Argument("speaker", speaker), f": {lists[0]} has a column 'speaker' already; leave out one of them"
            )
        speakers = [speaker] * len(segments)
    return segments, speakers
