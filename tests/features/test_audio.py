import os

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn.errors import InputError
from convrnn.features import audio
from convrnn.features.audio import AudioInfo, audio_blocks, audio_info, read_audio


def tone(hz, seconds, rate):
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def noise():
    return (np.random.default_rng(0).uniform(-0.5, 0.5, 8000)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.wav", {"subtype": "PCM_16"}, 4e-5),
        ("a.wav", {"subtype": "FLOAT"}, 0),
        ("a.wav", {"subtype": "ULAW"}, 2e-2),
        ("a.flac", {}, 4e-5),
        ("a.aiff", {}, 4e-5),
        ("a.au", {}, 4e-5),
    ],
)
def test_the_written_samples_are_read(tmp_path, noise, name, options, tolerance):
    soundfile.write(tmp_path / name, noise, 8000, **options)
    samples, rate = read_audio(tmp_path / name)
    assert (samples.dtype, rate) == (np.float32, 8000)
    np.testing.assert_allclose(samples, noise, atol=tolerance, rtol=0)
    assert audio_info(str(tmp_path / name)) == AudioInfo(8000, 1, 8000)


@pytest.mark.parametrize(("name", "options"), [("a.ogg", {}), ("a.ogg", {"subtype": "OPUS"}), ("a.mp3", {})])
def test_lossy_files_keep_their_length_and_sound(tmp_path, name, options):
    sound = tone(440, 1.0, 16000)
    soundfile.write(tmp_path / name, sound, 16000, **options)
    samples, _ = read_audio(tmp_path / name)
    assert len(samples) == 16000
    assert np.corrcoef(samples[2000:-2000], sound[2000:-2000])[0, 1] > 0.98


def test_channels_are_averaged(tmp_path, noise):
    channels = np.stack([noise, -noise, noise], axis=1)
    soundfile.write(tmp_path / "a.wav", channels, 8000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav")[0], noise / 3, atol=1e-7)
    assert audio_info(tmp_path / "a.wav").channels == 3


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000])
def test_resampling_keeps_a_tone(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(1000, 1.0, rate), rate, subtype="FLOAT")
    samples, new_rate = read_audio(tmp_path / "a.wav", sample_rate=16000)
    assert new_rate == 16000
    assert len(samples) == pytest.approx(16000, abs=1)
    middle = slice(1000, 15000)
    np.testing.assert_allclose(samples[middle], tone(1000, 1.0, 16000)[middle], atol=1e-3)


def test_downsampling_removes_what_would_alias(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(6000, 1.0, 16000), 16000, subtype="FLOAT")
    samples, _ = read_audio(tmp_path / "a.wav", sample_rate=8000)
    assert np.abs(samples[500:-500]).max() < 1e-3


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_start_and_end_are_seconds(tmp_path, noise, name):
    soundfile.write(tmp_path / name, noise, 8000)
    whole, _ = read_audio(tmp_path / name)
    np.testing.assert_array_equal(read_audio(tmp_path / name, start=0.25, end=0.5)[0], whole[2000:4000])
    np.testing.assert_array_equal(read_audio(tmp_path / name, start=0.25)[0], whole[2000:])
    np.testing.assert_array_equal(read_audio(tmp_path / name, end=0.5)[0], whole[:4000])
    np.testing.assert_array_equal(read_audio(tmp_path / name, start=0.9, end=1.004)[0], whole[7200:])


def test_only_the_requested_part_is_read(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(80000), 8000)
    asked = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda self, frames=-1, **kw: asked.append(frames) or read(self, frames, **kw)
    )
    read_audio(tmp_path / "a.wav", start=5.0, end=5.5)
    assert asked == [4000]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (-0.1, None, "start -0.1 s lies outside"),
        (1.0, None, "start 1 s lies outside the file, which is 1.000 s long"),
        (float("nan"), None, "start nan s lies outside"),
        (None, 1.02, "end 1.02 s lies outside"),
        (None, 0.0, "end 0 s lies outside"),
        (None, float("inf"), "end inf s lies outside"),
        (0.5, 0.5, "start 0.5 s is not before end 0.5 s"),
        (0.5, 0.4, "start 0.5 s is not before"),
        (0.5, 0.50001, "no sample lies between"),
    ],
)
def test_times_outside_the_file_are_refused(tmp_path, noise, start, end, message):
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    with pytest.raises(InputError, match=message) as caught:
        read_audio(tmp_path / "a.wav", start=start, end=end)
    assert str(caught.value).startswith(f"{tmp_path / 'a.wav'}: ")


def broken_files(folder):
    rng = np.random.default_rng(0)
    soundfile.write(folder / "good.wav", rng.uniform(-0.5, 0.5, 8000), 8000)
    soundfile.write(folder / "good.flac", rng.uniform(-0.5, 0.5, 8000), 8000)
    (folder / "folder.wav").mkdir()
    (folder / "text.wav").write_text("file,speaker\n" * 50)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "header.wav").write_bytes((folder / "good.wav").read_bytes()[:20])
    (folder / "cut.flac").write_bytes((folder / "good.flac").read_bytes()[:9000])
    (folder / "headerless.raw").write_bytes(b"\0" * 1000)
    soundfile.write(folder / "none.wav", np.zeros(0), 8000)
    for value, name in ((np.nan, "nan.wav"), (np.inf, "inf.wav")):
        samples = np.zeros((8000, 2), dtype=np.float32)
        samples[4000, 1] = value
        soundfile.write(folder / name, samples, 8000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.wav", "audio file does not exist"),
        ("folder.wav", "is a folder"),
        ("text.wav", r"cannot be read as audio \(.*Format not recognised\)"),
        ("empty.wav", r"is empty \(0 bytes\)"),
        ("header.wav", "cannot be read as audio"),
        ("cut.flac", "cannot be read as audio"),
        ("headerless.raw", "headerless audio"),
        ("none.wav", "holds no samples"),
        ("nan.wav", r"sample 4000 \(0.500 s\) is NaN or infinite"),
        ("inf.wav", r"sample 4000 \(0.500 s\) is NaN or infinite"),
    ],
)
def test_an_error_about_a_bad_file_names_it_in_one_sentence(tmp_path, name, message):
    broken_files(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_audio(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_a_file_shorter_than_its_header_says_is_refused(tmp_path, monkeypatch, noise):
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, frames=-1, **kw: read(self, frames, **kw)[:3000])
    with pytest.raises(InputError, match="its header announces 8000 samples, only 3000 could be read"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("name", "options", "channels"),
    [
        ("a.wav", {}, 1),
        ("a.wav", {"subtype": "FLOAT"}, 3),
        ("a.wav", {"subtype": "PCM_24"}, 9),
        ("a.wav", {"subtype": "MS_ADPCM"}, 2),
        ("a.flac", {}, 2),
        ("a.ogg", {}, 1),
        ("a.ogg", {"subtype": "OPUS"}, 2),
        ("a.mp3", {}, 1),
    ],
)
@pytest.mark.parametrize("sample_rate", [None, 8000, 16000, 44100])
def test_blocks_are_bitwise_equal_to_the_whole(tmp_path, name, options, channels, sample_rate):
    sound = tone(440, 1.5, 16000) + np.random.default_rng(0).uniform(-0.1, 0.1, 24000)
    sounds = np.stack([sound * k / channels for k in range(channels, 0, -1)], axis=1)
    soundfile.write(tmp_path / name, sounds, 16000, **options)
    for start, first in ((None, 0), (0.25, 4000)):
        with soundfile.SoundFile(tmp_path / name) as file:
            file.seek(first)
            expected = file.read(file.frames - first, dtype="float32", always_2d=True)
        expected = expected.mean(axis=1, dtype=np.float64).astype(np.float32)
        if sample_rate not in (None, 16000):
            expected = soxr.resample(expected, 16000, sample_rate, quality="HQ")
        for seconds in (0.01, 0.31, 1.0, 10.0):
            blocks = list(audio_blocks(tmp_path / name, sample_rate=sample_rate, start=start, block_seconds=seconds))
            assert all(len(block) > 0 for block in blocks)
            np.testing.assert_array_equal(np.concatenate(blocks).view(np.int32), expected.view(np.int32))
        whole, _ = read_audio(tmp_path / name, sample_rate=sample_rate, start=start)
        np.testing.assert_array_equal(whole.view(np.int32), expected.view(np.int32))


@settings(max_examples=25, deadline=None)
@given(rates=st.tuples(*[st.integers(1000, 768_000)] * 2), count=st.integers(1, 3000), block=st.integers(1, 1000))
def test_resampling_in_blocks_is_bitwise_equal_to_resampling_the_whole(tmp_path_factory, rates, count, block):
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    samples = np.random.default_rng(count).uniform(-0.5, 0.5, count).astype(np.float32)
    soundfile.write(path, samples, rates[0], subtype="FLOAT")
    expected = soxr.resample(samples, *rates, quality="HQ")
    if len(expected) == 0:
        with pytest.raises(InputError, match="leave none at"):
            list(audio_blocks(path, sample_rate=rates[1]))
        return
    found = np.concatenate(list(audio_blocks(path, sample_rate=rates[1], block_seconds=block / rates[0])))
    np.testing.assert_array_equal(found, expected)


def test_a_block_of_many_channels_is_no_larger(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros((3000, 1000), np.int16), 8000)
    monkeypatch.setattr(audio, "VALUES_PER_BLOCK", 2**20)
    assert [len(block) for block in audio_blocks(tmp_path / "a.wav")] == [1048, 1048, 904]


def test_telephone_codecs_that_cannot_seek_are_read_from_the_beginning(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(440, 1.0, 8000), 8000, subtype="GSM610")
    assert len(read_audio(tmp_path / "a.wav")[0]) == pytest.approx(8000, abs=320)
    with pytest.raises(InputError, match=r"a\.wav: cannot be read as audio \(Seek attempted on unseekable"):
        read_audio(tmp_path / "a.wav", start=0.5)


def headerless(folder, name="a.raw", count=8000):
    samples = np.random.default_rng(0).integers(-32768, 32767, count, dtype=np.int16, endpoint=True)
    (folder / name).write_bytes(samples.astype("<i2").tobytes())
    return samples.astype(np.float32) / 32768


@pytest.mark.parametrize("name", ["a.raw", "a.wav", "a.flac", "a"])
def test_headerless_audio_has_the_given_rate(tmp_path, name):
    expected = headerless(tmp_path, name)
    samples, rate = read_audio(tmp_path / name, headerless_rate=8000)
    assert rate == 8000
    np.testing.assert_array_equal(samples, expected)
    part, _ = read_audio(tmp_path / name, headerless_rate=8000, start=0.25, end=0.5)
    np.testing.assert_array_equal(part, expected[2000:4000])
    assert len(read_audio(tmp_path / name, headerless_rate=8000, sample_rate=4000)[0]) == 4000
    assert audio_info(tmp_path / name, headerless_rate=16000) == AudioInfo(16000, 1, 8000)


@pytest.mark.parametrize("name", ["a.raw", "a.wav"])
def test_headerless_audio_needs_a_rate(tmp_path, name):
    headerless(tmp_path, name)
    for read in (read_audio, audio_info):
        with pytest.raises(InputError, match=rf"{name}: (headerless audio has no sample rate|cannot be read as audio)"):
            read(tmp_path / name)


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "AIFF", "AU", "FLAC", "OGG", "NIST"])
def test_a_header_counts_whatever_the_file_name(tmp_path, noise, kind):
    with (tmp_path / "a.raw").open("wb") as stream:
        soundfile.write(stream, np.stack([noise, noise], axis=1), 11025, format=kind)
    # Even without a rate: the content has to be headerless, not the name.
    for rate in (8000, None):
        assert audio_info(tmp_path / "a.raw", headerless_rate=rate) == AudioInfo(11025, 2, 8000)
        samples, found = read_audio(tmp_path / "a.raw", headerless_rate=rate)
        assert found == 11025
        assert np.corrcoef(samples, noise)[0, 1] > 0.95


def test_half_a_sample_is_an_error(tmp_path):
    headerless(tmp_path)
    with (tmp_path / "a.raw").open("ab") as stream:
        stream.write(b"x")
    for read in (read_audio, audio_info):
        with pytest.raises(
            InputError, match=r"a\.raw: headerless 16-bit audio .* has 16001 bytes, an odd number; copy"
        ):
            read(tmp_path / "a.raw", headerless_rate=8000)


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "is empty"), (b"RIFF\x24\0\0\0WAVEfmt ", "cannot be read as audio")]
)
def test_broken_files_are_refused_even_if_headerless_ones_are_allowed(tmp_path, content, told):
    (tmp_path / "a.raw").write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_audio(tmp_path / "a.raw", headerless_rate=8000)
    with pytest.raises(InputError, match="does not exist"):
        read_audio(tmp_path / "b.raw", headerless_rate=8000)


@pytest.mark.parametrize("rate", [1, 999, 768_001])
def test_rates_that_no_recording_has_are_refused(tmp_path, noise, rate):
    soundfile.write(tmp_path / "a.wav", noise, rate)
    for read in (read_audio, audio_info):
        with pytest.raises(InputError, match=rf"a\.wav: audio has a sample rate of {rate} Hz; rates of 1000 to 768000"):
            read(tmp_path / "a.wav")
    headerless(tmp_path)
    with pytest.raises(InputError, match=f"{rate} Hz"):
        read_audio(tmp_path / "a.raw", headerless_rate=rate)
    soundfile.write(tmp_path / "b.wav", noise, 8000)
    with pytest.raises(InputError, match=f"Resampled audio has a sample rate of {rate} Hz"):
        read_audio(tmp_path / "b.wav", sample_rate=rate)


@pytest.mark.parametrize("rate", [1000, 768_000])
def test_the_lowest_and_highest_sample_rates_are_read(tmp_path, noise, rate):
    soundfile.write(tmp_path / "a.wav", noise, rate, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], noise)


@pytest.mark.parametrize(("value", "allowed"), [(256, True), (-256, True), (257, False), (-1e30, False)])
def test_samples_beyond_the_limit_are_refused(tmp_path, value, allowed):
    samples = np.zeros((8000, 2), np.float32)
    samples[3000, 1] = value
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    if allowed:
        assert read_audio(tmp_path / "a.wav")[0][3000] == value / 2
        return
    with pytest.raises(InputError, match=r"sample 3000 \(0\.375 s\) is .*; full scale is 1, samples of up to 256"):
        read_audio(tmp_path / "a.wav")


def test_too_many_samples_for_one_read_are_refused(tmp_path, noise, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    monkeypatch.setattr(audio, "MOST_SAMPLES", 15_000)
    assert len(read_audio(tmp_path / "a.wav", sample_rate=15_000)[0]) == 15_000
    with pytest.raises(
        InputError, match=r"1 s at 16000 Hz are more than the 15000 samples .*; give a start and an end"
    ):
        read_audio(tmp_path / "a.wav", sample_rate=16_000)
    assert sum(map(len, audio_blocks(tmp_path / "a.wav", sample_rate=16_000))) == 16_000


def test_parts_that_are_too_long_are_refused(tmp_path, noise, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    monkeypatch.setattr(audio, "LONGEST_SECONDS", 0.5)
    with pytest.raises(InputError, match=r"more than the .* h that are read in one piece; give a start and an end"):
        next(audio_blocks(tmp_path / "a.wav"))
    assert len(read_audio(tmp_path / "a.wav", start=0.2, end=0.7)[0]) == 4000


def test_names_that_are_not_unicode_are_read(tmp_path, noise):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9.wav")
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    (tmp_path / "a.wav").rename(name)
    assert len(read_audio(name)[0]) == 8000


def test_a_decoder_that_writes_to_stdout_is_not_used(tmp_path, noise, capfd):
    soundfile.write(tmp_path / "a.sds", noise, 8000, format="SDS", subtype="PCM_16")
    content = bytearray((tmp_path / "a.sds").read_bytes())
    content[21] = 0
    (tmp_path / "a.sds").write_bytes(content)
    with pytest.raises(InputError, match="is a MIDI sample dump"):
        read_audio(tmp_path / "a.sds")
    assert capfd.readouterr().out == ""


SEEDS = [
    ("WAV", "PCM_16"),
    ("WAV", "MS_ADPCM"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("AIFF", "FLOAT"),
    ("AU", "ULAW"),
    ("W64", "PCM_24"),
    ("CAF", "ALAC_16"),
    ("NIST", "PCM_16"),
]


@pytest.mark.parametrize(("kind", "subtype"), SEEDS)
@settings(max_examples=40, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 200), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4))
def test_any_header_is_read_or_refused_in_a_sentence(tmp_path_factory, kind, subtype, changes):
    path = tmp_path_factory.getbasetemp() / f"any.{kind}"
    soundfile.write(path, tone(440, 0.1, 8000), 8000, format=kind, subtype=subtype)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place : place + len(value)] = value
    path.write_bytes(content)
    try:
        samples, _ = read_audio(path, headerless_rate=8000)
    except InputError as error:
        told = str(error)
    else:
        assert np.isfinite(samples).all()
        return
    assert told.startswith(f"{path}: ")
    assert len(told) <= 300
    assert len(told.splitlines()) == 1
