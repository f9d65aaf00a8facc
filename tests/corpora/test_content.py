"""Copies of recordings are found however they were changed, and different recordings do not count as copies."""

import io

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn.corpora.check import check_corpus, drop_duplicates
from convrnn.corpora.coherence import LEAST_COHERENCE, coherence
from convrnn.corpora.content import same_content
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.fingerprint import RATE, Fingerprinter
from convrnn.corpora.joining import Groups
from convrnn.corpora.matching import bits_set, is_characteristic, matching
from convrnn.corpora.recording import listen
from convrnn.corpora.splits import Split, make_splits

SAMPLE_RATE = 16000


def voice(seed, seconds=2.0, rate=SAMPLE_RATE):
    """Speech-like sound: a gliding pitch with moving formants, in syllables."""
    rng = np.random.default_rng([7, int(seed)])
    time = np.arange(int(seconds * rate)) / rate
    knots = np.linspace(0, seconds, int(6 * seconds) + 2)

    def moving(low, high):
        return np.interp(time, knots, rng.uniform(low, high, len(knots)))

    source = np.zeros(len(time))
    phase = 2 * np.pi * np.cumsum(moving(90, 260)) / rate
    formants = [(moving(300, 800), 90.0), (moving(900, 1900), 150.0), (moving(2200, 3000), 250.0)]
    for harmonic in range(1, 25):
        frequency = harmonic * np.gradient(phase, 1 / rate) / (2 * np.pi)
        gain = sum(1 / (1 + ((frequency - centre) / width) ** 2) for centre, width in formants)
        source += gain * np.sin(harmonic * phase)
    source = source * moving(0.1, 1.0) + 0.02 * rng.standard_normal(len(time))
    return (0.4 * source / np.abs(source).max()).astype(np.float32)


def coded(samples, rate, container, coding, level=None):
    stream = io.BytesIO()
    options = {} if level is None else {"compression_level": level}
    soundfile.write(stream, samples, rate, format=container, subtype=coding, **options)
    stream.seek(0)
    return soundfile.read(stream, dtype="float32")


def padded(samples, rate, level):
    noise = np.random.default_rng(3).standard_normal(2 * rate).astype(np.float32) * np.float32(level)
    return np.concatenate([noise[: rate // 2 + 37], samples, noise[rate:]])


COPIES = {
    "quiet": lambda x, r: (np.round(0.1 * x * 32768).astype(np.int16), r),
    "clipped": lambda x, r: (np.clip(4 * x, -1, 1), r),
    "upside down": lambda x, r: (-0.7 * x, r),
    "8 bit": lambda x, r: (np.round(x * 128) / 128, r),
    "8 kHz": lambda x, r: (soxr.resample(x, r, 8000), 8000),
    "48 kHz": lambda x, r: (soxr.resample(x, r, 48000), 48000),
    "silence around": lambda x, r: (padded(x, r, 0.0), r),
    "faint noise around": lambda x, r: (padded(x, r, 1e-3), r),
    "later by half a frame": lambda x, r: (x[r // 156 :], r),
    "stereo": lambda x, r: (np.column_stack([x, 0.5 * x]), r),
    "mu-law": lambda x, r: coded(x, r, "WAV", "ULAW"),
    "GSM": lambda x, r: coded(soxr.resample(x, r, 8000), 8000, "WAV", "GSM610"),
    "Vorbis": lambda x, r: coded(x, r, "OGG", "VORBIS", 1.0),
    "Opus": lambda x, r: coded(x, r, "OGG", "OPUS"),
    "MP3": lambda x, r: coded(x, r, "MP3", "MPEG_LAYER_III", 0.9),
    "an excerpt": lambda x, r: (x[r // 2 : -r // 4], r),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Files of five voices."""
    folder = tmp_path_factory.mktemp("originals")
    files = []
    for number in range(5):
        files.append(folder / f"{number}.wav")
        soundfile.write(files[-1], voice(number), SAMPLE_RATE)
    return files


def corpus_of(files, speakers=None, labels=None, **columns):
    speakers = [str(number) for number in range(len(files))] if speakers is None else speakers
    labels = ["x", "y"] * len(files) if labels is None else labels
    names = [file.name for file in files]
    table = {"id": names, "file": files, "speaker": speakers, "task": labels[: len(files)], **columns}
    return Corpus.from_table(pd.DataFrame(table), name="made")


def groups(files, **columns):
    corpus = corpus_of(files, **columns)
    return same_content(corpus, listen(corpus))


@pytest.mark.parametrize("how", COPIES)
def test_copies_are_found(originals, tmp_path, how):
    samples, rate = soundfile.read(originals[2], dtype="float32")
    copy = tmp_path / "copy.wav"
    changed, changed_rate = COPIES[how](samples, rate)
    soundfile.write(copy, changed, changed_rate, subtype="PCM_16")
    assert groups([*originals, copy]) == [[2, 5]]


def test_different_recordings_are_not_copies(originals):
    assert groups(originals) == []


def test_a_copy_at_another_speed_is_found_only_if_it_is_certain(tmp_path):
    # The documentation says that 2 % are not found, and 0.5 % only from 2.6 s on.
    for name, seconds in (("brief", 1.5), ("long", 5.0)):
        for number in (98, 99.5, 100):
            samples = soxr.resample(voice(seconds, seconds=seconds), 100, number)
            soundfile.write(tmp_path / f"{name}{number}.wav", samples, SAMPLE_RATE)
    assert groups([tmp_path / f"{name}{number}.wav" for name in ("brief", "long") for number in (98, 100)]) == []
    assert groups([tmp_path / "brief99.5.wav", tmp_path / "brief100.wav"]) == []
    assert groups([tmp_path / "long99.5.wav", tmp_path / "long100.wav"]) == [[0, 1]]


def test_silence_tones_and_noise_do_not_match(tmp_path):
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    rng = np.random.default_rng(0)
    sounds = {
        "silence": np.zeros(len(time)),
        "other silence": np.zeros(len(time) // 2),
        "constant": np.full(len(time), 0.25),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        "quiet tone": 0.1 * np.sin(2 * np.pi * 440 * time[::2] * 2),
        "tone in noise": 0.5 * np.sin(2 * np.pi * 440 * time) + 0.01 * rng.standard_normal(len(time)),
        "the same in other noise": 0.5 * np.sin(2 * np.pi * 440 * time) + 0.01 * rng.standard_normal(len(time)),
        "two tones": 0.3 * np.sin(2 * np.pi * 440 * time) + 0.3 * np.sin(2 * np.pi * 1200 * time),
        "noise": 0.1 * rng.standard_normal(len(time)),
        "other noise": 0.1 * rng.standard_normal(len(time)),
        "click": np.eye(1, len(time), 100)[0],
        "other click": 0.5 * np.eye(1, len(time), 9000)[0],
    }
    files = []
    for name, samples in sounds.items():
        files.append(tmp_path / f"{name}.wav")
        soundfile.write(files[-1], samples, SAMPLE_RATE, subtype="FLOAT")
    assert groups(files) == []


def test_zeros_around_a_short_recording_do_not_hide_it(tmp_path):
    # Too short for a fingerprint: the hash ignores zeros at both ends.
    short = voice(0, seconds=0.2)
    for name, samples in (("a", short), ("b", np.concatenate([np.zeros(3000), short, np.zeros(7)]))):
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    assert groups([tmp_path / "a.wav", tmp_path / "b.wav"]) == [[0, 1]]


def test_an_excerpt_does_not_join_different_recordings(originals, tmp_path):
    # A recording of two voices contains both, but this does not make the two the same.
    both = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in originals[:2]])
    soundfile.write(tmp_path / "both.wav", both, SAMPLE_RATE)
    assert groups([originals[0], originals[1], tmp_path / "both.wav"]) == [[0, 2], [1, 2]]


def test_overlapping_parts_of_a_file_are_no_copies_for_one_speaker(originals):
    starts, ends = [0.0, 0.1], [1.5, 1.6]
    files = [originals[0]] * 2

    def parts(speakers):
        table = {"id": ["a", "b"], "file": files, "speaker": speakers, "start": starts, "end": ends}
        corpus = Corpus.from_table(pd.DataFrame(table))
        return same_content(corpus, listen(corpus))

    assert parts(["1", "1"]) == []
    assert parts(["1", "2"]) == [[0, 1]]


@settings(max_examples=15)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=12), st.sampled_from([8000, 16000, 44100]))
def test_fingerprints_do_not_depend_on_blocks(sizes, rate):
    samples = voice(1, seconds=0.8, rate=rate)
    whole, blocks = Fingerprinter(rate), Fingerprinter(rate)
    whole.add(samples)
    begin = 0
    for size in [*sizes, len(samples)]:
        blocks.add(samples[begin : begin + size])
        begin += size
    one, other = whole.finish(), blocks.finish()
    assert len(one) == len(other)
    assert bits_set(one ^ other).sum() <= 0.01 * 32 * len(one)


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.02])
def test_very_short_recordings_have_no_characteristic_fingerprint(seconds):
    listener = Fingerprinter(8000)
    listener.add(np.ones(int(8000 * seconds), np.float32))
    assert not is_characteristic(listener.finish())


def test_many_copies_are_all_linked():
    listener = Fingerprinter(SAMPLE_RATE)
    listener.add(voice(3))
    one = listener.finish()
    rng = np.random.default_rng(0)
    # Thirty copies with 4 % of their bits flipped at random, and other recordings between them.
    fingerprints = []
    for _ in range(30):
        turned = (rng.random((len(one), 32)) < 0.04) @ (1 << np.arange(32, dtype=np.uint64))
        fingerprints += [one ^ turned.astype(np.uint32) * (one != 0), rng.integers(1, 2**32, len(one), dtype=np.uint32)]
    linked = Groups((match.first, match.second) for match in matching(fingerprints))
    assert len({linked.of(number) for number in range(0, 60, 2)}) == 1
    assert len({linked.of(number) for number in range(1, 60, 2)}) == 30


def test_coherence_distinguishes_copies_from_other_recordings():
    one, other = (soxr.resample(voice(seed), SAMPLE_RATE, RATE) for seed in (0, 1))
    assert coherence(one, other) < 0.3 < LEAST_COHERENCE
    assert coherence(one, np.concatenate([np.zeros(999, np.float32), -0.01 * one])) == pytest.approx(1, abs=0.02)
    assert coherence(one, np.zeros(100, np.float32)) == 0.0


# --- the rules for copies


@pytest.fixture
def shared(originals, tmp_path):
    """Files of five speakers; 46 and 53 have two recordings in common, one of them as MP3."""
    samples, rate = soundfile.read(originals[0], dtype="float32")
    coded_samples, _ = COPIES["MP3"](samples, rate)
    soundfile.write(tmp_path / "53-a.wav", coded_samples, rate)
    samples, _ = soundfile.read(originals[1], dtype="float32")
    soundfile.write(tmp_path / "53-b.flac", 0.5 * samples, rate)
    files = [*originals, tmp_path / "53-a.wav", tmp_path / "53-b.flac"]
    return files, ["46", "46", "1", "2", "3", "53", "53"]


def kinds(report):
    return [(defect.severity, defect.kind) for defect in report.defects if defect.kind != "single-speaker"]


def test_one_person_under_two_names_is_one_error(shared):
    files, speakers = shared
    corpus = corpus_of(files, speakers, list("xyxyxxy"))
    report = check_corpus(corpus)
    assert kinds(report) == [("error", "shared-speaker")]
    [error] = report.errors
    assert error.message == (
        "speakers '46' and '53' have 2 recordings in common: 0.wav = 53-a.wav, 1.wav = 53-b.flac; if they are one "
        "person, join them with --same-speaker 46=53 (in Python same_speaker=['46=53']), or a column person"
    )
    joined = corpus.join_speakers([("46", "53")])
    assert joined.speakers == ("1", "2", "3", "46")
    assert kinds(check_corpus(joined)) == [("warning", "repeated-content")] * 2


def test_contradicting_labels_are_reported_too(shared):
    files, speakers = shared
    report = check_corpus(corpus_of(files, speakers, list("xyxyxyy")))
    assert kinds(report) == [("error", "shared-speaker"), ("error", "conflicting-labels")]
    assert "0.wav is x, 53-a.wav is y" in report.errors[1].message


def test_copies_are_left_out(shared):
    files, speakers = shared
    rest, left_out = drop_duplicates(corpus_of(files, speakers, list("xyxyxxy")))
    assert left_out == ["53-a.wav", "53-b.flac"]
    assert rest.table["id"].tolist() == ["0.wav", "1.wav", "2.wav", "3.wav", "4.wav"]
    assert kinds(check_corpus(rest)) == []
    # A program cannot know which of two labels is right.
    rest, left_out = drop_duplicates(corpus_of(files, speakers, list("xyxyxyy")))
    assert left_out == ["53-b.flac"]
    assert ("error", "conflicting-labels") in kinds(check_corpus(rest))


def test_splits_decide_whether_copies_are_an_error(shared):
    files, speakers = shared
    corpus = corpus_of(files, speakers, list("xyxyxxy"))
    apart = Split("apart", train=("46", "1"), validation=("2",), test=("53", "3"))
    report = check_corpus(corpus.for_task("task"), splits=[apart])
    assert [d.kind for d in report.errors] == ["shared-speaker"]
    assert report.errors[0].message.startswith("speakers '46' and '53' have 2 recordings in common: 0.wav = 53-a.wav, ")
    together = Split("together", train=("46", "53"), validation=("1", "2"), test=("3",))
    report = check_corpus(corpus.for_task("task"), splits=[together])
    assert ("warning", "shared-speaker") in kinds(report)
    assert {d.kind for d in report.errors} == {"absent-class"}
    both = check_corpus(corpus.for_task("task"), splits=[together, apart])
    assert [d.severity for d in both.defects if d.kind == "shared-speaker"] == ["error"]
    # Rows that no split uses are not checked.
    few = corpus_of([*files, files[0].with_name("gone.wav")], [*speakers, "9"], list("xyxyxxyx"))
    assert "missing-file" not in {d.kind for d in check_corpus(few.for_task("task"), splits=[together]).defects}


def test_copies_in_many_splits_are_reported_once(shared):
    files, speakers = shared
    corpus = corpus_of(files, speakers, list("xyxyxxy")).for_task("task")
    report = check_corpus(corpus, splits=make_splits(corpus, "loso"))
    [told] = [d.message for d in report.errors if "in common" in d.message]
    assert "2 recordings in common" in told


def test_overlapping_parts_in_two_parts_of_a_split_are_reported(originals):
    def told(speakers):
        table = {
            "id": list("abcde"),
            "file": [originals[0]] * 2 + originals[1:4],
            "start": [0.0, 0.9, None, None, None],
            "end": [1.0, 2.0, None, None, None],
            "speaker": [*speakers, "2", "3", "4"],
            "task": list("xyxyx"),
        }
        corpus = Corpus.from_table(pd.DataFrame(table)).for_task("task")
        splits = make_splits(corpus, "loso")
        return [d.message for d in check_corpus(corpus, splits=splits).errors if d.kind == "shared-content"]

    assert told(["1", "1"]) == []
    [message] = told(["1", "5"])
    assert message.startswith("overlapping parts of one file are in ")
    assert message.endswith(": a, b")
