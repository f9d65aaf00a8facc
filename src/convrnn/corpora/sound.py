"""Checks of the audio or frames of single utterances, and of differences between them."""

from collections.abc import Sequence

import numpy as np

from convrnn.corpora.formats import foreign_format, how_to_convert
from convrnn.corpora.labelled import HIGHEST_DEFAULT_RATE
from convrnn.corpora.recording import Recording
from convrnn.corpora.report import Defect
from convrnn.corpora.utterances import Utterances

OUTLIER = 10
"""Factor by which an utterance must be longer or shorter than the median to be reported."""
FEWEST = 10
"""Minimum number of utterances for which durations are compared."""

_REPORTED_TOGETHER = ("stereo", "foreign-format")
"""Kinds of faults that usually concern all files of a corpus."""


def sound_defects(corpus: Utterances, recordings: Sequence[Recording]) -> list[Defect]:
    """The defects of a corpus's audio or arrays of frames.

    Args:
        corpus: The corpus.
        recordings: One per row.
    """
    # Every segment of a file repeats the faults of the file.
    faults = dict.fromkeys(fault for recording in recordings for fault in recording.faults)
    return [
        *(Defect(*fault) for fault in faults if fault[1] not in _REPORTED_TOGETHER),
        *_foreign_formats(recordings),
        *_several_channels(recordings),
        *_rates(recordings),
        *_resampled(recordings),
        *_widths(recordings),
        *_durations(corpus, recordings),
    ]


def _foreign_formats(recordings: Sequence[Recording]) -> list[Defect]:
    found: dict[str, dict[str, str]] = {}
    for recording in recordings:
        for _, kind, sentence in recording.faults:
            if kind == "foreign-format":
                found.setdefault(foreign_format(recording.file) or "", {})[recording.file] = sentence
    defects = []
    for name, sentences in found.items():
        first, message = next(iter(sentences.items()))
        if len(sentences) > 1:
            message = f"{len(sentences)} files are {name}, which cannot be read here; the first is {first}; "
            message += how_to_convert(first)
        defects.append(Defect("error", "foreign-format", message))
    return defects


def _several_channels(recordings: Sequence[Recording]) -> list[Defect]:
    files: dict[int, dict[str, None]] = {}
    for recording in recordings:
        if recording.channels is not None and recording.channels > 1:
            files.setdefault(recording.channels, {})[recording.file] = None
    defects = []
    for channels, names in sorted(files.items()):
        first = next(iter(names))
        have = f"{first}: has" if len(names) == 1 else f"{len(names)} files have"
        which = "" if len(names) == 1 else f"; the first is {first}"
        defects.append(Defect("warning", "stereo", f"{have} {channels} channels; their mean is used{which}"))
    return defects


def _rates(recordings: Sequence[Recording]) -> list[Defect]:
    rates = sorted({recording.sample_rate for recording in recordings if recording.sample_rate})
    if len(rates) < 2:
        return []
    message = (
        f"files have {len(rates)} sample rates, {rates[0]} to {rates[-1]} Hz: features are computed at "
        f"{min(rates[0], HIGHEST_DEFAULT_RATE)} Hz unless another rate is given, and files of other rates are resampled"
    )
    return [Defect("warning", "sample-rates", message)]


def _resampled(recordings: Sequence[Recording]) -> list[Defect]:
    """Files without the upper frequencies of the features, at the rate at which these are computed by default."""
    heard = [recording for recording in recordings if recording.seconds and recording.sample_rate]
    highest = min([HIGHEST_DEFAULT_RATE, *(recording.sample_rate or 0 for recording in heard)])
    # All utterances of a file must agree, since a short one may be a single vowel.
    rate_of: dict[str, int] = {}
    for recording in heard:
        rate_of[recording.file] = max(recording.resampled_from or highest, rate_of.get(recording.file, 0))
    defects = []
    for rate in sorted(rate for rate in set(rate_of.values()) if rate < highest):
        first, *others = [file for file, own in rate_of.items() if own == rate]
        have = f"{1 + len(others)} files have" if others else f"{first}: has"
        which = f"; the first is {first}" if others else ""
        message = f"{have} next to nothing above {rate / 2:g} Hz, as if resampled from {rate} Hz{which}"
        defects.append(Defect("warning", "resampled", message))
    return defects


def _widths(recordings: Sequence[Recording]) -> list[Defect]:
    """Arrays with different numbers of features per frame."""
    files: dict[int, dict[str, None]] = {}
    for recording in recordings:
        if recording.num_features is not None:
            files.setdefault(recording.num_features, {})[recording.file] = None
    if len(files) < 2:
        return []
    rarest, *_, usual = sorted(files, key=lambda width: len(files[width]))
    message = (
        f"arrays have {len(files)} numbers of features per frame, mostly {usual}: {next(iter(files[rarest]))} has "
        f"{rarest}; a corpus has one"
    )
    return [Defect("error", "widths", message)]


def _durations(corpus: Utterances, recordings: Sequence[Recording]) -> list[Defect]:
    lengths = [recording.frames if corpus.holds_frames else recording.seconds for recording in recordings]
    known = [length for length in lengths if length]
    if len(known) < FEWEST:
        return []
    median = float(np.median(known))
    defects = []
    for identity, length in zip(corpus.table["id"].tolist(), lengths, strict=True):
        if length and not median / OUTLIER <= length <= median * OUTLIER:
            times = f"{_rounded(length / median)} times" if length > median else f"1/{_rounded(median / length)} of"
            own, usual = (_length(number, frames=corpus.holds_frames) for number in (length, median))
            defects.append(Defect("warning", "duration", f"{identity} is {own} long, {times} the median of {usual}"))
    return defects


def _length(number: float, *, frames: bool) -> str:
    return f"{_rounded(number)} {('frame' if number == 1 else 'frames') if frames else 's'}"


def _rounded(number: float) -> str:
    """Three digits, or more for a large number, which is not written as 8e+03."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
