"""The native kernels under torch.compile and torch.export, and as registered operations."""

import functools
import warnings

import pytest
import torch
from torch.export import Dim, export

from check_layer import LENGTHS, check_compile, draw_batch, randomised
from convrnn import nn, ops
from native_kernels import Recorder, needs_library
from operations import SEQUENCES, draw_float32

LAYERS = {
    "crnn": lambda: nn.CRNN(3, 4, 3, 2, nonlinearity="relu"),
    "cgru": lambda: nn.CGRU(3, 4, 3, 2, reset_after=True, learn_initial_state=True, reduce="mean"),
    "clstm": lambda: nn.CLSTM(3, 4, 3, 2, reduce="max"),
    "extended-clstm": lambda: nn.ExtendedCLSTM(3, 4, 3, 2),
    "cblstm": lambda: nn.CBLSTM(3, 4, 3, padding="same", learn_initial_state=True),
    "rnn": lambda: nn.RNN(3, 4),
    "gru": lambda: nn.GRU(3, 4, bidirectional=True),
    "blstm": lambda: nn.LSTM(3, 4, bidirectional=True),
}
EVERY_LAYER = pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)


@needs_library
@EVERY_LAYER
@pytest.mark.parametrize("with_lengths", [True, False])
def test_compiled_layers_equal_the_layers(make_layer, with_lengths):
    x, lengths = draw_batch(3, torch.float32)
    check_compile(randomised(make_layer, torch.float32), x, lengths if with_lengths else None)


def called_in(graph_module):
    """Names of all registered operations of this package in a graph and its subgraphs."""
    return {
        str(node.target).removeprefix("convrnn.")
        for module in graph_module.modules()
        if isinstance(module, torch.fx.GraphModule)
        for node in module.graph.nodes
        if str(node.target).startswith("convrnn.")
    }


@needs_library
@EVERY_LAYER
def test_compiled_layers_run_natively_and_follow_the_choice_of_backend(make_layer):
    layer, (x, lengths) = randomised(make_layer, torch.float32), draw_batch(3, torch.float32)
    graphs = []

    def record(graph_module, _):
        graphs.append(graph_module)
        return graph_module

    torch._dynamo.reset()
    compiled = torch.compile(layer, backend=record, fullgraph=True)
    compiled(x, lengths)
    assert any("native_" in name for name in called_in(graphs[-1]))
    with ops.use_backend("reference"):
        torch.testing.assert_close(compiled(x, lengths), layer(x, lengths), rtol=1e-5, atol=1e-5)
    assert not any("native_" in name for name in called_in(graphs[-1]))


@needs_library
@EVERY_LAYER
def test_exported_layers_run_without_the_library_unless_native_was_forced(make_layer):
    layer, given = randomised(make_layer, torch.float32), draw_batch(3, torch.float32)
    assert not any("native_" in name for name in called_in(export(layer, given).module()))
    with ops.use_backend("native"):
        assert any("native_" in name for name in called_in(export(layer, given).module()))


@needs_library
@EVERY_LAYER
@pytest.mark.parametrize("with_lengths", [True, False])
def test_exported_layers_equal_the_layers_for_any_batch_and_lengths(make_layer, with_lengths):
    layer = randomised(make_layer, torch.float32)
    traced = draw_batch(3, torch.float32)[: 1 + with_lengths]
    free = ({0: Dim.AUTO, 1: Dim.AUTO}, {0: Dim.AUTO})[: 1 + with_lengths]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = export(layer, traced, dynamic_shapes=free)
    for lengths in ([22, 3, 14, 9, 22], [30, 30], list(LENGTHS)):
        x = torch.randn(len(lengths), max(lengths), 3, generator=torch.Generator().manual_seed(0))
        given = (x, torch.tensor(lengths))[: 1 + with_lengths]
        torch.testing.assert_close(program.module()(*given), layer(*given), rtol=1e-5, atol=1e-5)


@needs_library
@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_registered_operations_keep_pytorchs_rules(cell, windowed, everything):
    name = f"native_windowed_{cell}" if windowed else f"native_{cell}"
    optional = ("bias", "bias_hn", "weight_peephole", "initial_hidden", "initial_cell")
    drawn = functools.partial(SEQUENCES[cell], **({"reset_after": True} if cell == "gru" else {}))
    tensors = draw_float32(drawn, batch=2, frames=5, without=() if everything else optional).values()
    leaves = [None if tensor is None else tensor.requires_grad_() for tensor in tensors]
    lengths = torch.tensor([5, 2]) if everything else None
    own = {"rnn": ("sigmoid",), "gru": (everything,), "lstm": ()}[cell]
    options = (3, 2, "hidden", "max") if everything else (2, 1, "cell" if cell == "lstm" else "hidden", "last")
    arguments = (*leaves, lengths, *own, *(options if windowed else ()), everything, *(() if windowed else (True,)))
    operation = getattr(torch.ops.convrnn, name).default
    torch.library.opcheck(operation, arguments)
    with Recorder() as recorder:
        result = operation(*arguments)
        (result.sum() if windowed else sum(states.sum() for states in result[:-1])).backward()
    called = {function.name().removeprefix("convrnn::"): (function, given) for function, given, _ in recorder.calls}
    assert list(called) == [f"{name}_kept" if windowed else name, f"{name}_backward"]
    for function, given in called.values():
        torch.library.opcheck(function, given, test_utils=["test_schema", "test_faketensor"])


@needs_library
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"weight_hh": torch.zeros(84, 21).half()},
            r"weight_hh is torch\.float16, but x is torch\.float32",
        ),
        ({"weight_hh": torch.zeros(85, 21)}, r"weight_hh must be \[4 \* hidden, hidden\], but has shape \[85, 21\]"),
        ({"weight_ih": torch.zeros(2, 84, 5)}, r"weight_ih must have shape \[84, 5\] or \[3, 84, 5\]"),
        ({"bias": torch.zeros(1)}, r"bias must have shape \[84\]"),
        ({"lengths": torch.tensor([11])}, r"lengths must be int64 with shape \[4\]"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, but is 0"),
    ],
    ids=["dtype", "weight_hh", "positions", "bias", "lengths", "kernel_size"],
)
def test_an_operation_refuses_wrong_operands(changes, sentence):
    options = {"lengths": None, "kernel_size": 3, "stride": 2, "sequence": "cell", "reduce": "last", "reverse": False}
    with pytest.raises(ValueError, match=sentence):
        torch.ops.convrnn.native_windowed_lstm(**(draw_float32() | options | changes))
