"""The whole classifier on padded batches."""

import copy

import pytest
import torch
from torch.export import Dim, export

from convrnn.models import SequenceClassifier, SequenceClassifierConfig, preset
from convrnn.models.config import ConvRNNConfig, FrontEndLayerConfig, MaxPoolConfig, RecurrentConfig
from convrnn.ops import geometry

NAMES = ("baseline", "conv", "clstm", "cblstm")


def small(name="clstm", setting="emotion"):
    """A narrower preset of the paper in float64, without zero parameters."""
    config = preset(name, setting, in_features=3, num_classes=4)
    content = config.model_dump()
    for layer in content["front_end"]:
        layer["features"]["out_features"] = 4
    content |= {"recurrent": config.recurrent.model_copy(update={"hidden_size": 5}).model_dump(), "dense_features": 6}
    model = SequenceClassifier(SequenceClassifierConfig.model_validate(content)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def batch(*lengths):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 3, generator=generator, dtype=torch.float64), torch.tensor(lengths)


@pytest.mark.parametrize("setting", ["emotion", "paralinguistic"])
@pytest.mark.parametrize("name", NAMES)
def test_predictions_do_not_depend_on_padding_or_the_rest_of_the_batch(name, setting):
    model = small(name, setting)
    x, lengths = batch(120, 57, 9, 1)
    inside = geometry.frame_mask(lengths, 120).unsqueeze(-1)
    y = model(torch.where(inside, x, torch.nan), lengths)
    assert torch.equal(y, model(torch.where(inside, x, 1e30), lengths))
    for row, length in enumerate(lengths):
        # float64: a smaller batch may sum in another order.
        torch.testing.assert_close(model(x[row : row + 1, :length])[0], y[row], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("setting", ["emotion", "paralinguistic"])
def test_a_clip_shorter_than_the_receptive_field_is_padded_with_zeros(setting):
    model = small("clstm", setting)
    shortest = model.receptive_field
    x, lengths = batch(shortest - 1, 2)
    padded = torch.zeros(2, shortest, 3, dtype=torch.float64)
    padded[0, : shortest - 1] = x[0]
    padded[1, :2] = x[1, :2]
    expected = model(padded)
    torch.testing.assert_close(model(x, lengths), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(model(x[:1])[0], expected[0], rtol=1e-12, atol=1e-12)
    features, feature_lengths = model.extract_features(x, lengths)
    assert features.size(1) == 1
    assert feature_lengths.tolist() == [1, 1]


@pytest.mark.parametrize(("setting", "field", "stride"), [("emotion", 31, 16), ("paralinguistic", 7, 4)])
def test_extracted_features_come_every_stride_frames(setting, field, stride):
    model = small("conv", setting)
    sizes = [field, field + stride - 1, field + stride, 3 * field + 5 * stride]
    x, lengths = batch(*sizes)
    features, feature_lengths = model.extract_features(x, lengths)
    assert feature_lengths.tolist() == [(size - field) // stride + 1 for size in sizes]
    assert features.shape == (4, feature_lengths.max(), 4)
    for row, count in enumerate(feature_lengths):
        assert not features[row, count:].any()
    without, none = model.extract_features(x)
    assert none is None
    torch.testing.assert_close(without[3], features[3], rtol=1e-12, atol=1e-12)


def test_the_baseline_uses_the_frames_unchanged():
    model = small("baseline")
    x, lengths = batch(9, 4)
    features, feature_lengths = model.extract_features(x, lengths)
    assert torch.equal(features, geometry.mask_frames(x, lengths))
    assert torch.equal(feature_lengths, lengths)


def test_the_prediction_is_the_mean_of_the_last_four_softmax_outputs():
    model = small("clstm", "emotion")
    x, _ = batch(31 + 16 * 6)
    features, _ = model.extract_features(x)
    hidden = model.recurrent(features)
    outputs = torch.softmax(model.output(torch.relu(model.dense(hidden))), dim=-1)
    assert outputs.size(1) == 7
    torch.testing.assert_close(model(x).exp(), outputs[:, -4:].mean(1), rtol=1e-12, atol=1e-12)


def test_both_directions_are_combined_as_in_equation_8():
    model = small("baseline", "paralinguistic")
    x, _ = batch(6)
    hidden = model.recurrent(x)
    forward, backward = hidden.chunk(2, dim=-1)
    W_forward, W_backward = model.dense.weight.chunk(2, dim=1)
    y = forward @ W_forward.T + backward @ W_backward.T + model.dense.bias
    outputs = torch.softmax(model.output(torch.relu(y)), dim=-1)
    torch.testing.assert_close(model(x).exp(), outputs.mean(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("setting", ["emotion", "paralinguistic"])
def test_the_classifier_compiles(setting):
    model = small("clstm", setting)
    x, lengths = batch(90, 40, 8)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    target = torch.tensor([0, 1, 3])
    results = []
    for run in (model, compiled):
        model.zero_grad()
        y = run(x, lengths)
        torch.nn.functional.nll_loss(y, target).backward()
        results.append([y, *(parameter.grad for parameter in model.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["baseline", "clstm"])
def test_the_classifier_exports_with_dynamic_batch_and_length(name):
    model = small(name, "paralinguistic").eval()
    free = ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO})
    program = export(model, batch(90, 40, 8), dynamic_shapes=free)
    for sizes in ((120, 7, 33, 50, 1), (64, 63)):
        x, lengths = batch(*sizes)
        torch.testing.assert_close(program.module()(x, lengths), model(x, lengths), rtol=1e-10, atol=1e-10)


def test_copies_and_state_dicts_give_the_same_predictions():
    model = small("cblstm")
    x, lengths = batch(70, 40)
    restored = SequenceClassifier(model.config).double()
    restored.load_state_dict(model.state_dict())
    assert torch.equal(restored(x, lengths), model(x, lengths))
    assert torch.equal(copy.deepcopy(model)(x, lengths), model(x, lengths))


def test_autocast_changes_predictions_little():
    model = small("clstm").float()
    x, lengths = batch(70, 40)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 0.3
        exact = model(x.float(), lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = model(x.float(), lengths)
    # Roundings of 2^-9 in a chain of about twenty products.
    torch.testing.assert_close(y.float(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((torch.zeros(2, 9, 4).double(),), "x must be .* 3 features"),
        ((torch.zeros(9, 3).double(),), r"x must be \[batch, frames, features\] with at least one frame, .* \[9, 3\]"),
        (
            (torch.zeros(2, 0, 3).double(),),
            r"x must be \[batch, frames, features\] with at least one frame, .* \[2, 0, 3\]",
        ),
        ((torch.zeros(2, 9, 3),), "x is torch.float32, but the layer's parameters are torch.float64"),
        ((torch.zeros(2, 9, 3).double(), torch.tensor([9, 12])), r"between 0 and 9.*lengths\[1\] is 12"),
    ],
)
@pytest.mark.parametrize("name", ["baseline", "conv", "clstm"])
def test_wrong_input_is_refused(name, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        small(name)(*arguments)


@pytest.mark.parametrize(
    "change", [{"num_classes": 1}, {"in_features": 0}, {"last_frames": 0}, {"dense_features": -1}, {"unknown": 1}]
)
def test_invalid_configs_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SequenceClassifierConfig.model_validate({"in_features": 3, "num_classes": 2} | change)


def test_configs_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        RecurrentConfig().hidden_size = 3


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_the_shortest_input_is_the_shortest_that_gives_an_output(padding):
    layer = FrontEndLayerConfig(
        features=ConvRNNConfig(out_features=4, kernel_size=5, stride=2, padding=padding),
        pool=MaxPoolConfig(kernel_size=2, stride=2),
    )
    model = SequenceClassifier(SequenceClassifierConfig(in_features=3, num_classes=2, front_end=(layer, layer)))
    outputs = []
    for frames in (model.shortest_input - 1, model.shortest_input):
        windows = frames
        for part in model.front_end:
            windows = part.output_lengths(windows)
        outputs.append(windows)
    assert outputs == [0, 1]
    assert model.extract_features(torch.zeros(1, 1, 3))[0].shape == (1, 1, 4)
    assert (model.shortest_input == model.receptive_field) == (padding == "valid")
