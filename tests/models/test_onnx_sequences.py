"""Layers over whole sequences as ONNX operators: ONNX Runtime computes the same as PyTorch."""

import warnings

import onnxruntime
import pytest
import torch

from check_layer import randomised
from convrnn import nn, ops
from convrnn.models.onnx_sequences import translations

LAYERS = {
    "rnn": lambda: nn.RNN(3, 4, bidirectional=True),
    "rnn-relu": lambda: nn.RNN(3, 4, nonlinearity="relu", bias=False, learn_initial_state=True),
    "rnn-sigmoid": lambda: nn.RNN(3, 4, nonlinearity="sigmoid"),
    "gru": lambda: nn.GRU(3, 4, bidirectional=True, learn_initial_state=True),
    "gru-without-bias": lambda: nn.GRU(3, 4, bias=False),
    "gru-after": lambda: nn.GRU(3, 4, bidirectional=True, reset_after=True),
    "lstm": lambda: nn.LSTM(3, 4, bidirectional=True, learn_initial_state=True),
    "lstm-without-bias": lambda: nn.LSTM(3, 4, peepholes=False, bias=False),
}


def run(layer, *given):
    """What ONNX Runtime computes of a layer, and the kinds of operators in the file."""
    with warnings.catch_warnings(), ops.use_backend("reference"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(layer, given, custom_translation_table=translations(), dynamo=True, verbose=False)
    model = program.model_proto
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {each.name: value.numpy() for each, value in zip(session.get_inputs(), given, strict=True)}
    return torch.from_numpy(session.run(None, inputs)[0]), [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("name", "with_lengths"), [*((name, True) for name in LAYERS), ("gru", False)], ids=lambda value: str(value)
)
def test_a_layer_becomes_an_operator_with_the_same_states(name, with_lengths):
    layer = randomised(LAYERS[name], torch.float32)
    x, lengths = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([7, 1, 4])
    given = (x, lengths) if with_lengths else (x,)
    found, kinds = run(layer, *given)
    # Float32, a few steps: rounding only.
    torch.testing.assert_close(found, layer(*given).detach(), rtol=1e-5, atol=1e-6)
    assert kinds.count(name.partition("-")[0].upper()) == (2 if layer.bidirectional else 1)
    assert not {"Loop", "Scan", "If"} & set(kinds)


def test_a_second_bias_may_be_the_only_one():
    class Only(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weights", torch.randn(12, 7))
            self.register_buffer("bias_hn", torch.randn(4))

        def forward(self, x):
            weight_ih, weight_hh = self.weights[:, :3], self.weights[:, 3:]
            return ops.gru(x, weight_ih, weight_hh, None, self.bias_hn, reset_after=True)

    module, x = Only(), torch.randn(2, 5, 3)
    torch.testing.assert_close(run(module, x)[0], module(x), rtol=1e-5, atol=1e-6)
