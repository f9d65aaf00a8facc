import json

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from convrnn.corpora.check import Defect, check_corpus
from convrnn.corpora.csv_table import open_csv
from convrnn.corpora.recording import _Clipping, clipped_samples
from convrnn.corpora.splits import Split
from convrnn.errors import InputError


@pytest.fixture
def check(tmp_path, write_noise):
    """Writes six clips without defects, changes the table and checks it."""

    def check(rows=None, task=None, columns="file,speaker,partition,mood", **options):
        if rows is None:
            rows = sound_rows()
        for row in sound_rows():
            name = row.split(",")[0]
            if not (tmp_path / name).exists():
                write_noise(name)
        (tmp_path / "d.csv").write_text("\n".join([columns, *rows]) + "\n")
        return check_corpus(open_csv(tmp_path / "d.csv"), task, **options)

    return check


def sound_rows():
    return [
        f"{side}-{mood}.wav,{side}-{mood},{side},{mood}"
        for side in ("train", "validation", "test")
        for mood in ("x", "y")
    ] + ["train-x2.wav,train-x2,train,x", "train-y2.wav,train-y2,train,y"]


def with_extra(*rows):
    return [*sound_rows(), *rows]


def found(report, kind):
    return [defect for defect in report.defects if defect.kind == kind]


def only(report, severity, kind):
    """The only defect in the report."""
    assert [(d.severity, d.kind) for d in report.defects] == [(severity, kind)]
    return report.defects[0].message


def test_a_corpus_without_defects_passes(check, write_noise):
    write_noise("test-x.wav", seconds=1.5)
    ticks = []
    report = check(on_progress=lambda done, total: ticks.append((done, total)))
    # Two speakers per class and partition are enough to pass every check.
    assert report.defects == report.errors == report.warnings == []
    assert ticks == [(i, 8) for i in range(1, 9)]
    assert report.utterances == report.speakers == {"train": 4, "validation": 2, "test": 2}
    assert report.classes == {
        "mood": {name: {"train": 2, "validation": 1, "test": 1} for name in ("x", "y")},
    }
    assert report.sample_rates == {8000: 8}
    assert report.seconds["test"] == {"total": 1.7, "min": 0.2, "median": 0.85, "max": 1.5}
    assert not report.synthetic
    assert json.loads(json.dumps(report.to_dict()))["utterances"] == report.utterances


def test_several_sample_rates_give_a_warning(check, write_noise):
    write_noise("test-x.wav", rate=16000)
    report = check()
    assert report.sample_rates == {8000: 7, 16000: 1}
    assert "2 sample rates, 8000 to 16000 Hz" in only(report, "warning", "sample-rates")


def write_upsampled(path, lower=8000, rate=16000):
    noise = np.random.default_rng(7).uniform(-0.5, 0.5, lower)
    soundfile.write(path, soxr.resample(noise, lower, rate), rate)


def test_upsampled_files(check, tmp_path, write_noise):
    for row in sound_rows():
        write_noise(row.split(",")[0], rate=16000)
    write_upsampled(tmp_path / "test-x.wav")
    expected = "test-x.wav: has next to nothing above 4000 Hz, as if resampled from 8000 Hz"
    assert only(check(), "warning", "resampled") == f"{tmp_path}/{expected}"
    write_upsampled(tmp_path / "test-y.wav", rate=44100)
    message = [defect.message for defect in check(cache_dir=tmp_path).defects if defect.kind == "resampled"]
    assert message == [
        f"2 files have next to nothing above 4000 Hz, as if resampled from 8000 Hz; the first is {tmp_path}/test-x.wav"
    ]
    again = [defect.message for defect in check(cache_dir=tmp_path).defects if defect.kind == "resampled"]
    assert again == message


@pytest.mark.parametrize("rate", [8000, 16000])
def test_what_features_do_not_need_may_be_missing(check, tmp_path, write_noise, rate):
    """At 8 kHz no feature reaches above 4 kHz, and by default none reaches above 8 kHz."""
    for row in sound_rows():
        write_noise(row.split(",")[0], rate=rate)
    write_upsampled(tmp_path / "test-x.wav", lower=rate, rate=48000)
    only(check(), "warning", "sample-rates")


def test_a_file_is_upsampled_only_if_all_its_parts_are(check, tmp_path, write_noise):
    for row in sound_rows():
        write_noise(row.split(",")[0], rate=16000)
    low = np.random.default_rng(7).uniform(-0.5, 0.5, 8000)
    high = np.random.default_rng(8).uniform(-0.5, 0.5, 16000)
    soundfile.write(tmp_path / "both.wav", np.concatenate([soxr.resample(low, 8000, 16000), high]), 16000)
    rows = [f"{row},," for row in sound_rows()]
    columns = "file,speaker,partition,mood,start,end"
    low_part = "both.wav,s,train,x,0,0.9"
    assert len(found(check([*rows, low_part], columns=columns), "resampled")) == 1
    assert not found(check([*rows, low_part, "both.wav,s,train,x,1.1,2"], columns=columns), "resampled")


def test_without_validation(check):
    report = check([row for row in sound_rows() if ",validation," not in row])
    assert "20 % of the training speakers" in only(report, "warning", "no-validation")


def test_without_partitions(check):
    rows = [row.replace(",train,", ",,").replace(",test,", ",,").replace(",validation,", ",,") for row in sound_rows()]
    report = check(rows)
    assert report.defects == []
    assert report.speakers == {"none": 8}


def test_unknown_task(check):
    with pytest.raises(InputError, match="unknown task 'age'"):
        check(task="age")


def test_missing_unreadable_and_empty_files_are_errors(check, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "zero.wav").touch()
    soundfile.write(tmp_path / "header.wav", np.zeros(0, dtype=np.int16), 8000)
    rows = [f"{name}.wav,train-x,train,x" for name in ("gone", "text", "zero", "header")]
    report = check(with_extra(*rows))
    assert [(d.severity, d.kind) for d in report.defects] == [
        ("error", "missing-file"),
        ("error", "unreadable"),
        ("error", "zero-length"),
        ("error", "zero-length"),
    ]
    for defect, name in zip(report.defects, ("gone", "text", "zero", "header"), strict=True):
        assert f"{name}.wav" in defect.message
    assert report.sample_rates == {8000: 9}


def test_a_truncated_copy_is_an_error(check, write_noise):
    path = write_noise("cut.wav")
    path.write_bytes(path.read_bytes()[:-1000])
    message = only(check(with_extra("cut.wav,train-x,train,x")), "error", "truncated")
    assert "cut.wav: audio file is truncated; 1000 bytes that its header announces are missing" in message


def test_samples_that_are_not_finite_are_an_error(check, tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    samples[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, 8000, subtype="FLOAT")
    assert "NaN" in only(check(with_extra("nan.wav,train-x,train,x")), "error", "unreadable")


def test_a_segment_outside_the_file_is_an_error(check):
    rows = [f"{row},," for row in sound_rows()]
    report = check([*rows, "train-x.wav,train-x,train,x,0.1,5"], columns="file,speaker,partition,mood,start,end")
    assert "end 5 s lies outside the file" in only(report, "error", "unreadable")


def test_too_short(check, write_noise):
    write_noise("short.wav", seconds=199 / 8000)
    write_noise("enough.wav", seconds=200 / 8000)
    report = check(with_extra("short.wav,train-x,train,x", "enough.wav,train-x,train,x"))
    assert "short.wav is 24.88 ms long" in only(report, "error", "too-short")


def test_silence_is_reported(check, tmp_path):
    soundfile.write(tmp_path / "zeros.wav", np.zeros(4000, dtype=np.int16), 8000)
    soundfile.write(tmp_path / "constant.wav", np.full(4000, 12, dtype=np.int16), 8000)
    # Two silent clips of equal length in two partitions do not count as the same recording.
    report = check(with_extra("zeros.wav,train-x,train,x", "constant.wav,test-x,test,x"))
    assert [(d.severity, d.kind) for d in report.defects] == [("warning", "silence")] * 2


@pytest.mark.parametrize(
    ("positions", "clipped"),
    [
        ([100, 101, 102], True),
        ([100, 101, 200, 201], False),
        ([100, 500, 900, 1300], False),
        (range(0, 4000, 900), True),
    ],
)
def test_clipping_is_reported(check, tmp_path, positions, clipped):
    samples = np.random.default_rng(0).integers(-9000, 9000, 4001, dtype=np.int16)
    samples[list(positions)] = [32767, -32768, 32767, 32767, -32768][: len(positions)]
    soundfile.write(tmp_path / "loud.wav", samples, 8000)
    report = check(with_extra("loud.wav,train-x,train,x"))
    assert report.defects == [] or "loud.wav is clipped" in only(report, "warning", "clipping")
    assert bool(report.defects) == clipped


def test_the_same_content_in_another_container_is_found(check, tmp_path, write_noise):
    samples, rate = soundfile.read(write_noise("train-x.wav"), dtype="int16")
    soundfile.write(tmp_path / "copy.flac", samples, rate)
    report = check(with_extra("copy.flac,test-x,test,x"))
    assert [d.kind for d in report.errors] == [d.kind for d in report.defects] == ["shared-speaker", "shared-content"]
    assert "'test-x' and 'train-x' have one recording in common: copy.flac = train-x.wav" in report.errors[0].message
    assert "train-x.wav (train), copy.flac (test)" in report.errors[1].message
    message = only(check(with_extra("copy.flac,train-x,train,x")), "warning", "repeated-content")
    assert "in 2 recordings: train-x.wav (train), copy.flac (train)" in message
    report = check(with_extra("copy.flac,train-x,train,y"))
    assert {(d.severity, d.kind) for d in report.defects} == {
        ("warning", "repeated-content"),
        ("error", "conflicting-labels"),
    }


def test_overlapping_parts_in_two_partitions(check, write_noise):
    write_noise("long.wav", seconds=3)
    columns = "file,speaker,partition,mood,start,end"
    rows = [f"{row},," for row in sound_rows()]
    parts = ["long.wav,train-x,train,x,0,2", "long.wav,train-x,train,x,0.5,1", "long.wav,test-x,test,x,1.5,3"]
    message = only(check(rows + parts, columns=columns), "error", "shared-content")
    assert "long.wav#0.0-2.0, long.wav#1.5-3.0" in message
    assert check([*rows, *parts[1:]], columns=columns).defects == []


def test_a_speaker_in_two_partitions_is_an_error(check, write_noise):
    write_noise("more.wav")
    write_noise("again.wav")
    rows = with_extra("again.wav,train-x,train,x", "more.wav,train-x,test,x")
    message = only(check(rows), "error", "speaker-overlap")
    assert message == "speaker 'train-x' is in several partitions: 2 utterances in train, 1 utterance in test"


def test_missing_labels_and_partitions_are_reported(check, write_noise):
    write_noise("more.wav")
    assert "more.wav has no label for task 'mood'" in only(
        check(with_extra("more.wav,train-x,train,")), "warning", "missing-label"
    )
    report = check(with_extra("more.wav,train-x,,x"))
    assert "more.wav has no partition" in only(report, "warning", "no-partition")
    assert report.utterances["none"] == 1


@pytest.mark.parametrize(("side", "severity"), [("train", "error"), ("test", "error"), ("validation", "warning")])
def test_a_class_absent_from_a_partition_is_reported(check, side, severity):
    report = check([row for row in sound_rows() if not row.endswith(f"{side},y")], "mood")
    assert f"no example of 'y' in {side}" in only(report, severity, "absent-class")


def test_partition_absent(check):
    report = check([row for row in sound_rows() if ",test," not in row])
    assert "no utterance is in the partition test" in only(report, "error", "absent-partition")


def test_few_speakers_and_classes(check):
    report = check(["train-x.wav,1,,x", "train-y.wav,1,,x"], "mood")
    assert [d.kind for d in report.errors] == ["too-few-speakers", "few-classes"]
    assert "class 'x' has only one speaker, '1'" in found(report, "single-speaker")[0].message


def test_columns_that_do_not_look_like_labels_only_warn_unless_requested(check):
    rows = [f"{row},{20 + number},german" for number, row in enumerate(sound_rows())]
    columns = "file,speaker,partition,mood,age,language"
    report = check(rows, columns=columns)
    assert report.errors == []
    assert {d.kind for d in report.warnings} == {"absent-class", "single-speaker", "few-classes"}
    assert set(report.classes) == {"mood", "age", "language"}
    assert {d.kind for d in check(rows, "age", columns=columns).errors} == {"absent-class"}
    assert {d.kind for d in check(rows, "language", columns=columns).errors} == {"few-classes"}
    assert check(rows, "mood", columns=columns).defects == []


def test_errors_come_first(check, write_noise):
    write_noise("more.wav")
    report = check(with_extra("more.wav,train-x,train,", "gone.wav,train-x,train,x"))
    assert [defect.severity for defect in report.defects] == ["error", "warning"]
    assert isinstance(report.errors[0], Defect)


def test_files_with_several_channels_give_one_warning(check, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        soundfile.write(tmp_path / f"{name}.wav", rng.integers(-9000, 9000, (4000, 2), dtype=np.int16), 8000)
    rows = ["one.wav,train-x,train,x,0,0.2", "one.wav,train-x,train,x,0.2,0.5", "two.wav,train-x,train,x,,"]
    columns = "file,speaker,partition,mood,start,end"
    sound = [f"{row},," for row in sound_rows()]
    message = only(check([*sound, *rows], columns=columns), "warning", "stereo")
    assert message == f"2 files have 2 channels; their mean is used; the first is {tmp_path / 'one.wav'}"
    message = only(check([*sound, *rows[:2]], columns=columns), "warning", "stereo")
    assert message == f"{tmp_path / 'one.wav'}: has 2 channels; their mean is used"


def test_unusual_durations_give_a_warning(check, write_noise):
    rows = with_extra("more.wav,train-x,train,x", "long.wav,train-x,train,x")
    write_noise("more.wav")
    write_noise("long.wav", seconds=2.5)
    assert only(check(rows), "warning", "duration") == "long.wav is 2.5 s long, 12.5 times the median of 0.2 s"
    # Nine utterances are too few for a usual duration.
    assert check([row for row in rows if "more" not in row]).defects == []
    write_noise("long.wav", seconds=1.9)
    assert check(rows).defects == []
    for name in ("long.wav", "more.wav", *(row.split(",")[0] for row in sound_rows())):
        write_noise(name, seconds=0.4)
    write_noise("more.wav", seconds=0.03)
    assert only(check(rows), "warning", "duration") == "more.wav is 0.03 s long, 1/13.3 of the median of 0.4 s"


@pytest.mark.parametrize(
    ("name", "head", "told"),
    [
        ("a.m4a", b"\0\0\0\x20ftypM4A \0\0\0\0", "MPEG-4 audio"),
        ("a.wma", bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "Windows Media audio"),
        ("a.webm", bytes.fromhex("1a45dfa39f4286810142f7810142f281"), "WebM or Matroska audio"),
        ("a.amr", b"#!AMR\n\x3c\x91\x17\x16\xbe\x66\x79\xe1\xe0\x01", "AMR audio"),
        # The content decides.
        ("a.wav", b"\0\0\0\x18ftypmp42\0\0\0\0", "MPEG-4 audio"),
    ],
)
def test_formats_that_have_to_be_converted_are_named(check, tmp_path, name, head, told):
    (tmp_path / name).write_bytes(head + bytes(2000))
    message = only(check(with_extra(f"{name},train-x,train,x")), "error", "foreign-format")
    assert f"{name}: is {told}" in message
    converted = "a-converted.wav" if name == "a.wav" else "a.wav"
    assert f"ffmpeg -i {name} {converted}" in message
    (tmp_path / f"b-{name}").write_bytes(head + bytes(3000))
    report = check(with_extra(f"{name},train-x,train,x", f"b-{name},train-x,train,x"))
    assert only(report, "error", "foreign-format").startswith(f"2 files are {told}")


def test_a_missing_name_that_exists_in_another_form_is_named(check, tmp_path, write_noise):
    write_noise("cafe\u0301/a.wav")
    message = only(check(with_extra("caf\u00e9/a.wav,train-x,train,x")), "error", "missing-file")
    assert r"audio file does not exist, but 'cafe\u0301' does" in message
    assert "only in Unicode form" in message
    write_noise("Upper.WAV")
    message = only(check(with_extra("upper.wav,train-x,train,x")), "error", "missing-file")
    assert "but 'Upper.WAV' does, which differs from 'upper.wav' only in case" in message
    corpus = open_csv(tmp_path / "d.csv")
    with pytest.raises(InputError, match=r"but 'Upper\.WAV' does"):
        _ = corpus.for_task("mood").sample_rate


def test_labels_and_speakers_that_differ_only_in_case_are_reported(check, write_noise):
    for name in ("a", "b"):
        write_noise(f"{name}.wav")
    report = check(with_extra("a.wav,train-x,train,X", "b.wav,TRAIN-X,train,x"), "mood")
    [forms] = found(report, "label-forms")
    assert forms.message == ("task 'mood': classes differ only in case: 'x' (5 rows), 'X' (1 row)")
    [forms] = found(report, "speaker-forms")
    assert "speakers differ only in case: 'train-x' (2 rows), 'TRAIN-X' (1 row)" in forms.message
    assert "--same-speaker train-x=TRAIN-X (in Python same_speaker=['train-x=TRAIN-X'])" in forms.message
    report = check(with_extra("a.wav,train-x,train,\u00e9t\u00e9", "b.wav,train-x,train,e\u0301te\u0301"))
    assert "only in Unicode form" in found(report, "label-forms")[0].message


def test_labels_with_a_decimal_comma_are_reported(check, write_noise):
    write_noise("a.wav")
    report = check(with_extra('a.wav,train-x,train,"0,5"'))
    assert "labels with a decimal comma, such as '0,5'" in found(report, "decimal-comma")[0].message


def test_classes_absent_from_splits_are_reported(check, tmp_path):
    check()
    corpus = open_csv(tmp_path / "d.csv")
    pairs = [("train-x", "train-y"), ("validation-x", "validation-y"), ("test-x", "test-y"), ("train-x2", "train-y2")]

    def split(name, train, validation, test):
        return Split(name, *(tuple(s for n in numbers for s in pairs[n]) for numbers in (train, validation, test)))

    def absent(*splits):
        report = check_corpus(corpus.for_task("mood"), splits=splits)
        return [(d.severity, d.message) for d in found(report, "absent-class")]

    assert absent(split("a", [0, 3], [1], [2])) == []
    one = Split("one", ("train-x", "train-y", "train-x2", "train-y2"), pairs[1], ("test-x",))
    two = Split("two", ("train-x", "train-y", "train-x2", "train-y2"), pairs[1], ("test-y",))
    assert absent(one) == [("error", "task 'mood': no example of 'y' in test of split one")]
    # The folds are pooled.
    assert absent(one, two) == []
    assert absent(one, one) == [("error", "task 'mood': no example of 'y' in test of any split")]
    bare = Split("bare", ("train-x", "train-x2"), ("validation-x",), pairs[2])
    assert absent(bare) == [
        ("error", "task 'mood': no example of 'y' in train of split bare"),
        ("warning", "task 'mood': no example of 'y' in validation of split bare"),
    ]


def test_given_splits_replace_the_partitions(check, tmp_path, write_noise):
    write_noise("more.wav")
    check(with_extra("more.wav,train-x,test,", "gone.wav,stranger,train,x"))
    corpus = open_csv(tmp_path / "d.csv")
    split = Split("mine", ("train-x", "train-y"), ("train-x2", "train-y2"), ("test-x", "test-y"))
    report = check_corpus(corpus.for_task("mood"), splits=[split])
    # The speaker in two partitions, the row without a label and the missing file do not concern this split.
    assert {d.kind for d in report.defects} == set()
    assert report.utterances == {"train": 4, "test": 2}


def test_what_was_computed_from_audio_is_cached(check, tmp_path, write_noise, monkeypatch):
    write_noise("long.wav", seconds=1.0)
    columns = "file,speaker,partition,mood,start,end"
    rows = [*(f"{row},," for row in sound_rows()), "long.wav,train-x,train,x,0,0.4", "long.wav,train-x,train,x,0.5,1"]
    first = check(rows, columns=columns, cache_dir=tmp_path / "cache")
    monkeypatch.setattr("convrnn.corpora.recording.Fingerprinter", None)
    assert check(rows, columns=columns, cache_dir=tmp_path / "cache") == first
    with pytest.raises(TypeError):
        check(rows, columns=columns)
    monkeypatch.undo()
    entries = sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert len(entries) == len(rows) - 1
    # Damaged entries are computed again.
    for number, entry in enumerate(entries):
        content = bytearray(entry.read_bytes())
        content[(number * 37) % len(content)] ^= 1
        entry.write_bytes(content[: len(content) // 2] if number % 3 == 2 else content)
    assert check(rows, columns=columns, cache_dir=tmp_path / "cache") == first
    # Another file under the same name is read again.
    write_noise("long.wav", seconds=0.3, seed=5)
    assert found(check(rows, columns=columns, cache_dir=tmp_path / "cache"), "unreadable")


def test_worker_processes_find_the_same_defects(check, write_noise):
    write_noise("short.wav", seconds=0.01)
    rows = with_extra("short.wav,train-x,train,x", "gone.wav,test-x,test,y")
    ticks = []
    assert check(rows, jobs=2, on_progress=lambda *done: ticks.append(done)) == check(rows)
    assert ticks == [(done, 10) for done in range(1, 11)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_clipping_does_not_depend_on_blocks(sizes, random):
    samples = np.array([random.choice([0.0, 0.1, 1.0, -1.0]) for _ in range(sum(sizes))], np.float32)
    samples[random.randrange(len(samples)) :] *= 0.5
    blocks = _Clipping()
    begin = 0
    for size in sizes:
        blocks.add(samples[begin : begin + size])
        begin += size
    assert blocks.finish() == clipped_samples(samples)
