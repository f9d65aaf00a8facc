import numpy as np
import pytest
import soundfile

from convrnn.errors import InputError
from convrnn.features.audio import AudioInfo, audio_info, read_audio


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
def test_reads_what_was_written(tmp_path, noise, name, options, tolerance):
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


def test_only_the_part_asked_for_is_read(tmp_path, monkeypatch):
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
def test_bad_files_are_named_in_one_sentence(tmp_path, name, message):
    broken_files(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_audio(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)


def test_a_file_shorter_than_its_header_says_is_refused(tmp_path, monkeypatch, noise):
    soundfile.write(tmp_path / "a.wav", noise, 8000)
    read = soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, frames=-1, **kw: read(self, frames, **kw)[:3000])
    with pytest.raises(InputError, match="its header announces 8000 samples, 3000 could be read"):
        read_audio(tmp_path / "a.wav")


def headerless(folder, name="a.raw", count=8000):
    samples = np.random.default_rng(0).integers(-32768, 32767, count, dtype=np.int16, endpoint=True)
    (folder / name).write_bytes(samples.astype("<i2").tobytes())
    return samples.astype(np.float32) / 32768


@pytest.mark.parametrize("name", ["a.raw", "a.wav", "a.flac", "a"])
def test_headerless_audio_at_the_rate_that_is_told(tmp_path, name):
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
def test_a_header_counts_whatever_the_name_says(tmp_path, noise, kind):
    with (tmp_path / "a.raw").open("wb") as stream:
        soundfile.write(stream, np.stack([noise, noise], axis=1), 11025, format=kind)
    # Also without a rate: it is the content that has to be headerless, not the name.
    for rate in (8000, None):
        assert audio_info(tmp_path / "a.raw", headerless_rate=rate) == AudioInfo(11025, 2, 8000)
        samples, found = read_audio(tmp_path / "a.raw", headerless_rate=rate)
        assert found == 11025
        assert np.corrcoef(samples, noise)[0, 1] > 0.95


def test_half_a_sample_is_a_fault(tmp_path):
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
def test_broken_files_stay_broken_where_headerless_ones_are_allowed(tmp_path, content, told):
    (tmp_path / "a.raw").write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_audio(tmp_path / "a.raw", headerless_rate=8000)
    with pytest.raises(InputError, match="does not exist"):
        read_audio(tmp_path / "b.raw", headerless_rate=8000)
