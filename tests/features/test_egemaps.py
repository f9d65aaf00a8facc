import shutil
import subprocess
import sys
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import opensmile
import pytest
import soundfile

from convrnn.errors import InputError
from convrnn.features import egemaps as egemaps_module
from convrnn.features.egemaps import (
    DESCRIPTORS,
    EgemapsConfig,
    copy_with_25_ms,
    load_opensmile,
    opensmile_version,
)
from convrnn.features.extract import Segment, extract_features, features_of
from convrnn.features.normalise import Normaliser
from convrnn.features.store import FeatureStore

FRAMER = Path("gemaps/v01b/GeMAPSv01b_core.lld.conf.inc")
LARGEST = 1 - 2**-15

# Descriptors that depend only on the 60 ms frames. H1-A3 and the formants' amplitudes also depend on formants.
OF_LONG_FRAMES = {"F0semitoneFrom27.5Hz", "jitterLocal", "shimmerLocaldB", "HNRdBACF", "logRelF0-H1-H2"}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache with a space in its path."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("a cache")
        patch.setenv("CONVRNN_CACHE", str(folder))
        load_opensmile.cache_clear()
        yield folder
        load_opensmile.cache_clear()


@pytest.fixture(scope="module")
def configuration():
    return Path(opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, "lld").default_config_root)


@pytest.fixture(scope="module")
def whole_signal():
    """openSMILE's own class with its own configuration, which takes a signal at once."""
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    return lambda samples, rate: smile(samples, rate)[0].T


@pytest.fixture
def fresh():
    """Makes openSMILE load again in the test and after it."""
    load_opensmile.cache_clear()
    yield
    load_opensmile.cache_clear()


def voice(rate, seconds=1.0, hertz=220.0):
    """Falling harmonics, silent in its last third, with a little noise."""
    time = np.arange(round(rate * seconds)) / rate
    tone = sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, 12))
    noise = np.random.default_rng(0).standard_normal(len(time))
    return (0.2 * tone * (time < 2 * seconds / 3) + 0.002 * noise).astype(np.float32)


def test_features_equal_those_of_opensmile_on_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", voice(16000), 16000)
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors)
    want = smile.process_file(tmp_path / "a.wav")
    got = extract_features(Segment(str(tmp_path / "a.wav")), EgemapsConfig(sample_rate=16000))
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(got, want.to_numpy())
    assert [name.partition("_sma3")[0] for name in want.columns] == list(DESCRIPTORS)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.06, 1.0, 23.7])
def test_blocks_of_any_size_are_bitwise_equal_to_the_whole_signal(whole_signal, rate, seconds):
    samples = voice(rate, seconds)
    want = whole_signal(samples, rate)
    config = EgemapsConfig(sample_rate=rate)
    np.testing.assert_array_equal(features_of(samples, config), want)
    for cuts in ([0], [1, 1, 2], [rate // 7, len(samples) - 1], range(999, len(samples), 9999)):
        np.testing.assert_array_equal(config.compute(np.split(samples, cuts)), want)


def test_blocks_that_cannot_be_read_end_the_extraction(whole_signal):
    def blocks():
        yield voice(16000, 12)
        raise InputError("a.wav: ends here")

    config = EgemapsConfig(sample_rate=16000)
    before = threading.active_count()
    with pytest.raises(InputError, match=r"^a.wav: ends here$"):
        config.compute(blocks())
    assert threading.active_count() == before
    np.testing.assert_array_equal(features_of(voice(16000), config), whole_signal(voice(16000), 16000))


def test_blocks_of_another_kind_are_refused():
    with pytest.raises(ValueError, match=r"expected blocks of float32 \[samples\]; got float64 of shape \(8000,\)"):
        EgemapsConfig(sample_rate=16000).compute([np.zeros(8000)])


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("frame_ms", [20, 25])
def test_frame_counts(rate, frame_ms):
    shift, frame = rate // 100, 6 * rate // 100
    config = EgemapsConfig(sample_rate=rate, frame_ms=frame_ms)
    for samples in (frame, frame + 1, frame + shift - 1, frame + shift, rate // 5, rate - 1, rate, 2 * rate + 17):
        want = int(np.floor((samples - frame) / shift)) + 2
        assert features_of(voice(rate, 3)[:samples], config).shape == (want, config.num_features)


@pytest.mark.parametrize(("rate", "shift", "frame"), [(11025, 110, 662), (22050, 221, 1323)])
def test_frame_counts_where_10_ms_are_no_whole_samples(rate, shift, frame):
    config = EgemapsConfig(sample_rate=rate)
    for samples in (frame - 1, frame, frame + shift - 1, frame + shift, rate):
        assert len(features_of(voice(rate)[:samples], config)) == max(0, (samples - frame) // shift) + 2


@pytest.mark.parametrize("rate", [8000, 16000])
def test_finds_the_pitch(rate):
    pitch = features_of(voice(rate), EgemapsConfig(sample_rate=rate))[:, DESCRIPTORS.index("F0semitoneFrom27.5Hz")]
    # 220 Hz are three octaves above 27.5 Hz.
    np.testing.assert_allclose(pitch[5:60], 36, atol=0.2)
    assert (pitch[75:] == 0).all()


@pytest.mark.parametrize("rate", [8000, 16000])
def test_frames_of_25_ms_change_only_descriptors_of_short_frames(rate):
    stock, paper = (features_of(voice(rate), EgemapsConfig(sample_rate=rate, frame_ms=ms)) for ms in (20, 25))
    assert stock.shape == paper.shape
    same = {name for i, name in enumerate(DESCRIPTORS) if np.array_equal(stock[:, i], paper[:, i])}
    assert same == OF_LONG_FRAMES
    # The same sound in slightly longer frames: different values, but close ones.
    loudness = [features[5:60, DESCRIPTORS.index("Loudness")].mean() for features in (stock, paper)]
    assert loudness[1] == pytest.approx(loudness[0], rel=0.1)


def test_full_scale_is_clipped_where_opensmile_wraps(whole_signal):
    samples = voice(16000)
    samples /= np.abs(samples).max()
    samples[samples > 0.95] = 1.0
    config = EgemapsConfig(sample_rate=16000)
    got = features_of(samples, config)
    np.testing.assert_array_equal(got, features_of(np.minimum(samples, LARGEST), config))
    assert np.abs(got - whole_signal(samples, 16000)).max() > 1
    clipped = np.clip(1.5 * samples, -1, LARGEST)
    np.testing.assert_array_equal(features_of(1.5 * samples, config), features_of(clipped, config))


@pytest.mark.parametrize("frame_ms", [20, 25])
@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(8000),
        np.ones(8000),
        -np.ones(8000),
        np.eye(1, 8000, 4000)[0],
        np.sign(np.sin(np.arange(8000) / 7)),
        1e-5 * np.sin(np.arange(8000)),
        np.where(np.arange(8000) < 4000, 0, np.sin(np.arange(8000) / 5)),
    ],
    ids=["silence", "dc", "negative dc", "impulse", "square", "below a bit", "half silent"],
)
def test_extreme_sounds_give_finite_values(samples, frame_ms):
    config = EgemapsConfig(sample_rate=16000, frame_ms=frame_ms)
    features = features_of(samples, config)
    assert np.isfinite(features).all()
    [normalised] = Normaliser("utterance").transform([features])
    assert np.isfinite(normalised).all()


def test_digital_silence_is_constant_and_normalises_to_zero():
    features = features_of(np.zeros(16000), EgemapsConfig(sample_rate=16000))
    assert len(np.unique(features[3:-3], axis=0)) == 1
    [normalised] = Normaliser("utterance").transform([features])
    assert (normalised[:, DESCRIPTORS.index("F0semitoneFrom27.5Hz")] == 0).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rate", [8000, 11025, 16000])
def test_a_short_clip_is_followed_by_silence(rate):
    config = EgemapsConfig(sample_rate=rate)
    whole = -(-60 * rate // 1000)
    for samples in (-(-20 * rate // 1000), 30 * rate // 1000, whole - 1):
        clip = voice(rate)[:samples]
        features = features_of(clip, config)
        assert features.shape == (2, 25)
        assert np.isfinite(features).all()
        np.testing.assert_array_equal(features, features_of(np.pad(clip, (0, whole - samples)), config))


@pytest.mark.parametrize("frame_ms", [20, 25])
def test_less_than_a_short_frame_is_refused(tmp_path, frame_ms):
    least = 8 * frame_ms
    config = EgemapsConfig(sample_rate=8000, frame_ms=frame_ms)
    assert len(features_of(voice(8000)[:least], config)) == 2
    soundfile.write(tmp_path / "a.wav", voice(8000)[: least - 1], 8000)
    message = rf"a.wav: {least - 1} samples at 8000 Hz are less than one frame of {frame_ms} ms$"
    with pytest.raises(InputError, match=message):
        extract_features(Segment(str(tmp_path / "a.wav")), config)


def test_only_mono_is_accepted():
    with pytest.raises(ValueError, match=r"expected mono samples \[samples\]; got shape \(16000, 2\)"):
        features_of(np.zeros((16000, 2)), EgemapsConfig(sample_rate=16000))


def test_features_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    broken = np.zeros((96, 25), np.float32)
    broken[7, 10] = np.nan
    monkeypatch.setattr(egemaps_module, "_run", lambda *_: broken)
    soundfile.write(tmp_path / "a.wav", voice(16000), 16000)
    store = FeatureStore(tmp_path / "store", EgemapsConfig(sample_rate=16000))
    with pytest.raises(InputError, match=r"a.wav: openSMILE gives nan for F0semitoneFrom27.5Hz in frame 7$"):
        store.extract([Segment(str(tmp_path / "a.wav"))])
    assert list(tmp_path.rglob("*.npy")) == []


@pytest.mark.parametrize("frame_ms", [20, 25])
def test_features_are_bitwise_equal_in_any_order_and_process(tmp_path, frame_ms):
    config = EgemapsConfig(sample_rate=8000, frame_ms=frame_ms)
    segments = []
    for number in range(5):
        soundfile.write(tmp_path / f"{number}.wav", voice(8000, 0.2 + number / 10, 150 + 40 * number), 8000)
        segments.append(Segment(str(tmp_path / f"{number}.wav")))
    alone, several = (FeatureStore(tmp_path / name, config) for name in ("alone", "several"))
    alone.extract(segments[::-1])
    seen = []
    several.extract(segments, jobs=2, on_progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 5) for done in range(1, 6)]
    for segment in segments:
        assert alone.path(segment).read_bytes() == several.path(segment).read_bytes()
    assert alone.load(segments[0]).shape == (16, 25)


def test_keys_depend_on_frames_rate_and_the_version_of_opensmile(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", voice(8000), 8000)
    segment = Segment(str(tmp_path / "a.wav"))
    configs = [
        EgemapsConfig(sample_rate=8000),
        EgemapsConfig(sample_rate=8000, frame_ms=25),
        EgemapsConfig(sample_rate=16000),
    ]
    keys = {FeatureStore(tmp_path, config).key(segment) for config in configs}
    monkeypatch.setattr(egemaps_module, "version", lambda _: "99.0")
    keys |= {FeatureStore(tmp_path, config).key(segment) for config in configs}
    assert len(keys) == 6


@pytest.mark.usefixtures("fresh")
def test_missing_opensmile_gives_one_sentence(tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(egemaps_module, "version", missing)
    soundfile.write(tmp_path / "a.wav", voice(16000), 16000)
    config = EgemapsConfig(sample_rate=16000)
    sentence = r"^eGeMAPS features need openSMILE, which is not installed; run: pip install 'convrnn\[egemaps\]'$"
    with pytest.raises(InputError, match=sentence):
        extract_features(Segment(str(tmp_path / "a.wav")), config)
    with pytest.raises(InputError, match=sentence):
        FeatureStore(tmp_path, config)


@pytest.mark.usefixtures("fresh")
def test_opensmile_that_cannot_be_loaded_gives_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(
        InputError, match=r"^openSMILE \S+ cannot be loaded \(.*\); run: pip install 'convrnn\[egemaps\]'$"
    ):
        features_of(np.zeros(16000), EgemapsConfig(sample_rate=16000))


@pytest.mark.usefixtures("fresh")
def test_other_descriptors_are_refused(monkeypatch):
    monkeypatch.setattr(egemaps_module, "DESCRIPTORS", DESCRIPTORS[::-1])
    with pytest.raises(
        InputError, match=r"other descriptors in eGeMAPSv02 than the 25 known here: Loudness, alphaRatio,"
    ):
        features_of(np.zeros(16000), EgemapsConfig(sample_rate=16000))


def test_opensmile_is_loaded_when_it_is_used():
    program = (
        "import sys\n"
        "import convrnn.features.store, convrnn.features.egemaps, convrnn.experiments.prepare\n"
        "from convrnn.features.egemaps import EgemapsConfig\n"
        "convrnn.features.store.FeatureStore('x', EgemapsConfig(sample_rate=16000))\n"
        "print('opensmile' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_the_copy_differs_in_one_number(configuration, cache):
    copy = copy_with_25_ms(configuration)
    assert copy.is_relative_to(cache)
    assert copy_with_25_ms(configuration) == copy
    before, after = (file.read_bytes().splitlines() for file in (configuration / FRAMER, copy))
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [(b"frameSize = 0.020", b"frameSize = 0.025")]


def test_a_damaged_copy_is_replaced(configuration):
    copy = copy_with_25_ms(configuration)
    whole = copy.read_bytes()
    copy.write_bytes(whole[:100])
    assert copy_with_25_ms(configuration) == copy
    assert copy.read_bytes() == whole


@pytest.mark.parametrize("change", ["missing", "other length", "other name", "twice"])
def test_an_unknown_configuration_is_refused(configuration, tmp_path, change):
    other = shutil.copytree(configuration, tmp_path / "config")
    text = (other / FRAMER).read_text()
    section = text[text.index("[gemapsv01b_frame25:cFramer]") : text.index("[gemapsv01b_win25:cWindower]")]
    if change == "missing":
        (other / FRAMER).unlink()
    else:
        new = {
            "other length": section.replace("0.020", "0.030"),
            "other name": section.replace("frame25", "frame20"),
            "twice": section + section,
        }[change]
        (other / FRAMER).write_text(text.replace(section, new))
    with pytest.raises(
        InputError, match=rf"{FRAMER}: openSMILE {opensmile_version()} has no frames of 20 ms where"
    ) as caught:
        copy_with_25_ms(other)
    assert str(caught.value).endswith("use features='egemaps'")


def test_a_cache_that_opensmile_cannot_read_is_named(configuration, tmp_path, monkeypatch):
    monkeypatch.setenv("CONVRNN_CACHE", str(tmp_path / "Größe"))
    with pytest.raises(InputError, match=r"Größe/.*: openSMILE reads .* ASCII .*; choose another .* CONVRNN_CACHE$"):
        copy_with_25_ms(configuration)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("fresh")
def test_a_folder_of_opensmile_that_it_cannot_read_is_named(monkeypatch):
    monkeypatch.setattr(opensmile, "__file__", "/home/jürgen/opensmile/__init__.py")
    with pytest.raises(InputError, match=r"^/home/jürgen/opensmile: openSMILE reads .*; install it in another folder$"):
        features_of(np.zeros(16000), EgemapsConfig(sample_rate=16000))


def test_a_cache_that_cannot_be_written_is_named(configuration, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CONVRNN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"file/opensmile/\S*: cannot be written \(Not a directory\)"):
        copy_with_25_ms(configuration)
