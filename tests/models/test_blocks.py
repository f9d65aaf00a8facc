"""A recording has the same log-probabilities whether it is classified in blocks or as a whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bundles import make_bundle, utterances
from convrnn import ops
from convrnn.models import SequenceClassifier, bundle, preset
from convrnn.models.blocks import classify_in_blocks, works_in_blocks
from convrnn.ops.native import library

NATIVE = ("baseline", "clstm", "extended-clstm", "cblstm")


def small(front_end, setting):
    """The preset's structure with few features and without zero parameters."""
    torch.manual_seed(0)
    content = preset(front_end, setting, in_features=26, num_classes=3).model_dump()
    for layer in content["front_end"]:
        layer["features"]["out_features"] = 4
    content |= {"recurrent": content["recurrent"] | {"hidden_size": 7}, "dense_features": 6}
    model = SequenceClassifier(preset("conv", "emotion", in_features=26, num_classes=3).model_validate(content))
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


MODELS = {(name, setting): small(name, setting) for name in NATIVE for setting in ("emotion", "paralinguistic")}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.integers(31, 700), st.integers(1, 60))
def test_blocks_change_nothing(name, frames, block):
    model = MODELS[name]
    x = torch.randn(1, frames, 26, generator=torch.Generator().manual_seed(frames))
    with torch.inference_mode():
        np.testing.assert_allclose(classify_in_blocks(model, x, block=block), model(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", [*NATIVE, "conv", "crnn", "cgru", "clstm-hidden-max", "cblstm-states"])
@pytest.mark.parametrize("setting", ["emotion", "paralinguistic"])
def test_every_front_end_runs_in_blocks_on_the_reference(name, setting):
    model, x = small(name, setting), torch.randn(1, 500, 26)
    with torch.inference_mode(), ops.use_backend("reference"):
        np.testing.assert_allclose(classify_in_blocks(model, x, block=9), model(x), rtol=0, atol=2e-6)


@pytest.mark.parametrize("instruction_set", library.instruction_sets())
@pytest.mark.parametrize("name", NATIVE)
def test_blocks_are_bitwise_equal_on_the_kernel(instruction_set, name):
    """This holds for the states; the dense layers are PyTorch's."""
    torch.manual_seed(1)
    model = SequenceClassifier(preset(name, "emotion", in_features=26, num_classes=3)).eval()
    x = torch.randn(1, 2000, 26)
    with torch.inference_mode(), library.use_instruction_set(instruction_set):
        assert torch.equal(classify_in_blocks(model, x, block=64), model(x))
        assert torch.equal(classify_in_blocks(model, x, block=37), model(x))


def test_inputs_that_cannot_be_split_are_refused():
    model = MODELS["clstm", "emotion"]
    with pytest.raises(
        ValueError, match=r"\[1, frames, features\] with 31 frames or more, but has shape \[1, 30, 26\]"
    ):
        classify_in_blocks(model, torch.randn(1, 30, 26))
    with pytest.raises(ValueError, match=r"has shape \[2, 40, 26\]"):
        classify_in_blocks(model, torch.randn(2, 40, 26))
    content = model.config.model_dump()
    content["front_end"][0]["features"]["padding"] = "same"
    padded = SequenceClassifier(type(model.config).model_validate(content))
    assert not works_in_blocks(padded)
    with pytest.raises(ValueError, match=r"cannot process x in blocks: .* has layers with padding 'same'"):
        classify_in_blocks(padded, torch.randn(1, 40, 26))


def test_long_recordings_run_in_blocks_and_batches_are_bounded(monkeypatch):
    model = make_bundle(normalise="utterance")
    features = utterances(400, 20, 60, 900, 61, 62)
    expected = model.log_probabilities(features)
    monkeypatch.setattr(bundle, "LONG", 300)
    monkeypatch.setattr(bundle, "MOST_FRAMES", 130)
    long, batches, batches_of = [], [], bundle._batches

    def watched(classifier, x):
        long.append(x.size(1))
        return classify_in_blocks(classifier, x, block=10)

    def watched_batches(*arguments):
        for rows, x, lengths in batches_of(*arguments):
            batches.append(tuple(x.shape[:2]))
            yield rows, x, lengths

    monkeypatch.setattr(bundle, "classify_in_blocks", watched)
    monkeypatch.setattr(bundle, "_batches", watched_batches)
    np.testing.assert_allclose(model.log_probabilities(features), expected, rtol=0, atol=2e-6)
    assert long == [400, 900]
    assert batches == [(2, 60), (2, 62), (1, 400), (1, 900)]
