"""Configs and weights from untrusted sources: whatever they contain, they give a model or a sentence."""

import copy
import json
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from bundles import STATISTICS, make_bundle, utterances
from convrnn.errors import InputError
from convrnn.models import Bundle, SequenceClassifierConfig
from convrnn.models.bundle import StatisticsConfig

HOSTILE = st.one_of(
    st.sampled_from(
        [0, 1, 2, -1, 10**5, 10**9, 2**31, 2**63 - 1, 2**63, 2**64, 0.5, 1e308, -1e308, 1e-300, None, True, "x" * 5000]
    ),
    st.sampled_from(["gru", "rnn", "lstm", "hidden", "cell", "max", "same", "relu", "egemaps", "corpus", "utterance"]),
    st.sampled_from([[], {}, [[]], [0.0] * 26, [1] * 2000, ["a"] * 3, list(range(70_000))]),
    st.integers(),
    st.text(max_size=20),
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "model"
    make_bundle(normalise="corpus", statistics=STATISTICS).save(folder)
    config = json.loads((folder / "config.json").read_text())
    return folder, config, (folder / "model.safetensors").read_bytes()


def places(content):
    """The path of every value in the content, as a sequence of keys."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [(key, *rest) for key, value in inner for rest in [(), *places(value)]]


def change(content, place, value):
    for key in place[:-1]:
        content = content[key]
    content[place[-1]] = copy.deepcopy(value)


def load(folder, config, weights):
    """Loads a model, or checks that it is refused in a sentence."""
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors").write_bytes(weights)
    try:
        bundle = Bundle.load(folder)
    except InputError as error:
        return str(error)
    return bundle


def is_sentence(text):
    return len(text) <= 300 and len(text.splitlines()) == 1 and "http" not in text


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_value_in_the_config_gives_a_model_or_a_sentence(saved, data):
    folder, config, weights = saved
    config = copy.deepcopy(config)
    for _ in range(data.draw(st.integers(1, 2))):
        change(config, data.draw(st.sampled_from(places(config))), data.draw(HOSTILE))
    found = load(folder, json.dumps(config).encode(), weights)
    assert isinstance(found, Bundle) or is_sentence(found)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_value_in_the_header_of_the_weights_gives_a_model_or_a_sentence(saved, data):
    folder, config, weights = saved
    length = int.from_bytes(weights[:8], "little")
    header = json.loads(weights[8 : 8 + length])
    value = st.one_of(HOSTILE, st.sampled_from(["F64", "BF16", "I64", [2**62], [2**32, 2**32], [0], [0, 2**62]]))
    change(header, data.draw(st.sampled_from(places(header))), data.draw(value))
    content = json.dumps(header).encode()
    found = load(folder, json.dumps(config).encode(), struct.pack("<Q", len(content)) + content + weights[8 + length :])
    assert isinstance(found, Bundle) or is_sentence(found)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8))
def test_any_bytes_in_the_weights_give_a_model_or_a_sentence(saved, place, value):
    folder, config, weights = saved
    place %= len(weights)
    found = load(folder, json.dumps(config).encode(), weights[:place] + value + weights[place + len(value) :])
    assert isinstance(found, Bundle) or is_sentence(found)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"num_classes": 2**16 + 1}, "num_classes"),
        ({"in_features": 2**20 + 1}, "in_features"),
        ({"dense_features": 2**63}, "dense_features"),
        ({"last_frames": 2**16 + 1}, "last_frames"),
        ({"recurrent": {"hidden_size": 2**20 + 1}}, "hidden_size"),
        ({"front_end": [{"features": {"kind": "conv", "out_features": 1, "kernel_size": 1}}] * 33}, "at most 32 items"),
        (
            {"front_end": [{"features": {"kind": "conv", "out_features": 1, "kernel_size": 300, "stride": 200}}] * 3},
            "depends on 12020100 frames of 26 features, more than 8388608 values",
        ),
    ],
)
def test_models_beyond_the_bounds_are_refused(fields, told):
    with pytest.raises(ValidationError, match=told):
        SequenceClassifierConfig.model_validate({"in_features": 26, "num_classes": 2} | fields)


def test_large_models_are_within_the_bounds():
    # A thousand classes, raw waveforms with windows of one second, and colour pictures of 224 by 224 pixels.
    windows = {"front_end": [{"features": {"kind": "conv", "out_features": 100, "kernel_size": 16000, "stride": 160}}]}
    SequenceClassifierConfig.model_validate({"in_features": 1, "num_classes": 1000} | windows)
    windows = {
        "front_end": [{"features": {"kind": "convrnn", "out_features": 512, "kernel_size": 32, "num_layers": 8}}]
    }
    SequenceClassifierConfig.model_validate({"in_features": 3 * 224 * 224, "num_classes": 60000} | windows)


@pytest.mark.parametrize("value", [1e10, -1e10, float("inf"), float("nan")])
def test_statistics_beyond_the_bounds_are_refused(value):
    with pytest.raises(ValidationError):
        StatisticsConfig(mean=(value,), std=(1.0,))
    with pytest.raises(ValidationError):
        StatisticsConfig(mean=(1.0,), std=(value,))


def test_a_deviation_that_makes_features_overflow_is_refused():
    with pytest.raises(ValidationError, match="std holds 1e-300, less than the deviation of any feature"):
        StatisticsConfig(mean=(0.0,), std=(1e-300,))
    StatisticsConfig(mean=(0.0,), std=(0.0,))


def test_weights_that_overflow_are_reported_at_prediction(saved):
    folder, config, weights = saved
    load(folder, json.dumps(config).encode(), weights)
    path = folder / "model.safetensors"
    save_file({name: torch.full_like(tensor, 1e38) for name, tensor in load_file(path).items()}, path)
    with pytest.raises(InputError, match="probabilities are not numbers; its weights are damaged"):
        Bundle.load(folder).log_probabilities(utterances(40))
