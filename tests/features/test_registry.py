"""The contract of all input features, including any that are added to the registry."""

import subprocess
import sys

import numpy as np
import pytest

from convrnn.features.base import MOST_FEATURES, Features
from convrnn.features.config import feature_config_of
from convrnn.features.extract import features_of
from convrnn.features.registry import FEATURES


@pytest.fixture(params=FEATURES)
def config(request) -> Features:
    return feature_config_of(request.param, 16000)


@pytest.fixture
def samples() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, 16000).astype(np.float32)


def test_features_have_the_documented_shape(config, samples):
    features = features_of(samples, config)
    assert features.dtype == np.float32
    assert features.shape[1] == config.num_features <= MOST_FEATURES
    assert abs(len(features) - 1000 / config.shift_ms) < 6
    assert np.isfinite(features).all()


def test_blocks_of_any_size_give_the_same_bits(config, samples):
    blocks = np.split(samples, [1, 700, 700, 12345])
    np.testing.assert_array_equal(config.compute(blocks), features_of(samples, config))


def test_less_than_a_frame_is_refused(config, samples):
    with pytest.raises(ValueError, match="less than one frame"):
        features_of(samples[: int(16 * config.frame_ms) - 1], config)


def test_features_have_a_description(config):
    config.load()
    assert config.description
    assert 0 < config.highest_hz <= 8000
    assert FEATURES[config.name].title
    assert all(config.versions().values())


def test_every_kind_has_a_class_of_its_own():
    classes = {entry.load() for entry in FEATURES.values()}
    assert len({cls.model_fields["kind"].default for cls in classes}) == len(classes)


def test_the_registries_load_no_library():
    code = (
        "import sys, convrnn.errors; before = set(sys.modules);"
        "import convrnn.features.registry, convrnn.corpora.registry;"
        "print(sorted({'numpy', 'pandas', 'pydantic', 'torch', 'soundfile'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
