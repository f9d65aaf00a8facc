"""The model with an output at every frame, on padded batches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from convrnn.models import FrameModel, FrameModelConfig, preset
from convrnn.models.config import RecurrentConfig
from convrnn.models.weights import load_weights, weights_file
from convrnn.ops import geometry

FRONT_ENDS = ("baseline", "conv", "clstm", "cblstm", "extended-clstm")


def small(front_end="clstm", **changes):
    """No parameter at zero, in float64."""
    layers = preset(front_end, "paralinguistic", in_features=3, num_classes=2).model_dump()["front_end"]
    for layer in layers:
        layer["features"]["out_features"] = 4
    arguments = {"front_end": layers, "recurrent": RecurrentConfig(hidden_size=5, bidirectional=True)} | changes
    model = FrameModel(FrameModelConfig(in_features=3, num_outputs=6, **arguments)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


def batch(*lengths, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), max(lengths), 3, generator=generator, dtype=torch.float64), torch.tensor(lengths)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=4), extra=st.integers(0, 9))
def test_no_output_depends_on_padding_or_on_the_rest_of_the_batch(front_end, lengths, extra):
    model = small(front_end)
    x, sizes = batch(*lengths, max(lengths) + extra)
    inside = geometry.frame_mask(sizes, x.size(1)).unsqueeze(-1)
    y, windows = model(torch.where(inside, x, torch.nan), sizes)
    for row, length in enumerate(sizes):
        alone, none = model(x[row : row + 1, :length])
        assert none is None
        assert alone.size(1) == windows[row]
        torch.testing.assert_close(y[row, : windows[row]], alone[0], rtol=1e-10, atol=1e-10)
        assert not y[row, windows[row] :].any()


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_there_is_an_output_every_stride_frames(front_end):
    model = small(front_end)
    field, stride = model.front_end.receptive_field, model.front_end.frame_stride
    sizes = [1, field, field + stride - 1, field + stride, field + 9 * stride]
    y, lengths = model(*batch(*sizes))
    assert lengths.tolist() == [max(size - field, 0) // stride + 1 for size in sizes]
    assert y.shape == (5, 10, 6)


def test_the_outputs_are_those_of_the_stacked_layers():
    model = small(num_layers=3)
    x, _ = batch(50)
    hidden, _ = model.front_end(x)
    for layer in model.recurrent:
        hidden = layer(hidden)
    assert len(model.recurrent) == 3
    torch.testing.assert_close(model(x)[0], hidden @ model.output.weight.T + model.output.bias)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradients_by_finite_differences(bidirectional):
    model = small(recurrent=RecurrentConfig(hidden_size=2, bidirectional=bidirectional))
    x, lengths = batch(15, 9)
    x.requires_grad_()
    parameters = [parameter for parameter in model.parameters() if parameter.numel()]
    assert torch.autograd.gradcheck(lambda *_: model(x, lengths)[0], (x, *parameters), fast_mode=True)


def test_dropout_acts_in_training_only():
    x, lengths = batch(60, 30)
    model = small(dropout=0.5)
    expected, _ = small(dropout=0.0)(x, lengths)
    assert torch.equal(model(x, lengths)[0], expected)
    model.train()
    torch.manual_seed(0)
    first, again = (model(x, lengths)[0] for _ in range(2))
    assert not torch.allclose(first, again)
    torch.manual_seed(0)
    assert torch.equal(model(x, lengths)[0], first)
    assert not first[1, 14:].any()


def test_dropout_sets_the_expected_share_to_zero():
    model = small(num_layers=1, dropout=0.25, recurrent=RecurrentConfig(hidden_size=400)).train()
    seen = []
    model.output.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    torch.manual_seed(0)
    model(batch(60)[0])
    assert (seen[0] == 0).double().mean().item() == pytest.approx(0.25, abs=0.03)


def test_compiles():
    model = small(num_layers=2)
    x, lengths = batch(60, 20, 8)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    results = []
    for run in (model, compiled):
        model.zero_grad()
        y, windows = run(x, lengths)
        torch.nn.functional.ctc_loss(
            y.log_softmax(-1).transpose(0, 1), torch.tensor([[1, 2], [1, 2], [3, 0]]), windows, torch.tensor([2, 2, 1])
        ).backward()
        results.append((y, *(parameter.grad.clone() for parameter in model.parameters())))
    for eager, other in zip(*results, strict=True):
        torch.testing.assert_close(other, eager, rtol=1e-9, atol=1e-9)


def test_config_and_weights_go_to_disk_and_back(tmp_path):
    model = small("cblstm", dropout=0.3).float()
    (tmp_path / "weights").write_bytes(weights_file(model.state_dict()))
    config = FrameModelConfig.model_validate_json(model.config.model_dump_json())
    assert config == model.config
    with torch.device("meta"):
        other = FrameModel(config).eval()
    load_weights(tmp_path / "weights", other)
    x, lengths = batch(60, 30)
    assert torch.equal(other(x.float(), lengths)[0], model(x.float(), lengths)[0])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"num_layers": 0}, "num_layers"),
        ({"num_outputs": 0}, "num_outputs"),
        (
            {"in_features": 2**20, "front_end": preset("conv", "emotion", in_features=1, num_classes=2).front_end},
            "depends on",
        ),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(changes, told):
    with pytest.raises(ValidationError, match=told):
        FrameModelConfig.model_validate({"in_features": 3, "num_outputs": 4} | changes)


def test_input_without_frames_is_refused():
    with pytest.raises(ValueError, match="must be \\[batch, frames, features\\] with at least one frame"):
        small()(torch.zeros(1, 0, 3, dtype=torch.float64))
