import subprocess
import sys

import pydantic
import pytest

from convrnn.features.config import FeatureConfig, feature_config_of
from convrnn.features.egemaps import EgemapsConfig
from convrnn.features.logmel import LogMelConfig
from convrnn.features.registry import FEATURES


def test_defaults_are_the_papers():
    config = LogMelConfig(sample_rate=8000)
    assert config.model_dump() == {
        "kind": "logmel",
        "sample_rate": 8000,
        "num_bands": 26,
        "low_hz": 20.0,
        "high_hz": None,
        "frame_ms": 25.0,
        "shift_ms": 10.0,
        "preemphasis": 0.97,
    }
    assert config.highest_hz == 4000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"high_hz": 5000.0}, "half the sample rate, 4000 Hz"),
        ({"low_hz": 3000.0, "high_hz": 2000.0}, "must rise"),
        ({"num_bands": 120}, "num_bands=120 is too many"),
        ({"num_bands": 2}, "greater than or equal to 3"),
        ({"preemphasis": 1.5}, "less than or equal to 1"),
        ({"frame_ms": float("nan")}, "frame_ms"),
        ({"num_bands": 10**9}, "less than or equal to 1024"),
        ({"frame_ms": 1e9}, "less than or equal to 1000"),
        ({"shift_ms": 1001.0}, "less than or equal to 1000"),
        ({"low_hz": 1e300}, "less than or equal to 384000"),
        ({"high_hz": -1.0}, "greater than 0"),
        ({"dither": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        LogMelConfig(sample_rate=8000, **fields)


@pytest.mark.parametrize("rate", [999, 768_001, 2**63])
@pytest.mark.parametrize("config", [LogMelConfig, EgemapsConfig])
def test_sample_rates_have_bounds(config, rate):
    with pytest.raises(pydantic.ValidationError, match="sample_rate"):
        config(sample_rate=rate)


def test_a_config_is_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        LogMelConfig(sample_rate=8000).sample_rate = 16000


@pytest.mark.parametrize("name", FEATURES)
def test_the_config_of_every_name_survives_json(name):
    config = feature_config_of(name, 8000)
    assert config.name == name
    assert config.shift_ms == {"waveform": 0.125, "waveform-1ms": 1}.get(name, 10)
    read = pydantic.TypeAdapter(FeatureConfig)
    assert read.validate_json(config.model_dump_json()) == config


def test_egemaps_of_8000_hz_with_frames_of_20_or_25_ms():
    assert EgemapsConfig(sample_rate=8000).model_dump() == {"kind": "egemaps", "sample_rate": 8000, "frame_ms": 20}
    with pytest.raises(pydantic.ValidationError, match="greater than or equal to 8000"):
        EgemapsConfig(sample_rate=7999)
    with pytest.raises(pydantic.ValidationError, match="20 or 25"):
        EgemapsConfig(sample_rate=8000, frame_ms=30)


@pytest.mark.parametrize("content", [{"kind": "mfcc", "sample_rate": 8000}, {"sample_rate": 8000}, [], None])
def test_content_that_is_no_config_is_refused(content):
    with pytest.raises(pydantic.ValidationError):
        pydantic.TypeAdapter(FeatureConfig).validate_python(content)
    with pytest.raises(ValueError, match=r"unknown features 'mfcc'; allowed: logmel, egemaps, egemaps-25ms"):
        feature_config_of("mfcc", 8000)


def test_config_and_normalise_load_no_audio_library():
    code = (
        "import sys, convrnn.features.config, convrnn.features.normalise;"
        "heavy = {'soundfile', 'soxr', 'opensmile', 'kaldi_native_fbank', 'pandas', 'lightning_fabric', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
