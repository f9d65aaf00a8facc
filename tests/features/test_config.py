import subprocess
import sys

import pydantic
import pytest

from convrnn.features.config import LogMelConfig


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
    assert config.upper_hz == 4000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"high_hz": 5000.0}, "half the sample rate, 4000 Hz"),
        ({"low_hz": 3000.0, "high_hz": 2000.0}, "must rise"),
        ({"num_bands": 120}, "num_bands=120 is too many"),
        ({"num_bands": 2}, "greater than or equal to 3"),
        ({"preemphasis": 1.5}, "less than or equal to 1"),
        ({"frame_ms": float("nan")}, "frame_ms"),
        ({"dither": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    with pytest.raises(pydantic.ValidationError, match=message):
        LogMelConfig(sample_rate=8000, **fields)


def test_is_frozen():
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        LogMelConfig(sample_rate=8000).sample_rate = 16000


def test_config_and_normalise_load_no_audio_library():
    code = (
        "import sys, convrnn.features.config, convrnn.features.normalise;"
        "heavy = {'soundfile', 'soxr', 'kaldi_native_fbank', 'pandas', 'lightning', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
