"""The Triton kernels as operations of PyTorch: what they keep, refuse and differentiate, and how they compile.

``test_triton`` runs it as it does ``triton_kernels``.
"""

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from check_layer import draw_batch, gradients, randomised
from convrnn import nn, ops
from convrnn.ops.triton import launcher
from operations import draw_float32, outputs_of
from triton_cases import DEVICE, EVERY_TILE, OPERATIONS, OPTIONAL, REDUCTIONS, TILES, drawn, run


@pytest.mark.parametrize("tile", [name for name in TILES if name != "streamed"], indirect=True)
@pytest.mark.parametrize("name", ["cell-last", "hidden-max", "both-max"])
def test_many_windows_keep_nothing_for_the_backward_pass(name):
    tensors = {key: tensor.requires_grad_() for key, tensor in drawn(batch=2, frames=9, hidden=18).items()}
    inputs, saved = {tensor.untyped_storage().data_ptr() for tensor in tensors.values()}, []

    def pack(tensor):
        saved.append(tensor.untyped_storage().data_ptr())
        return tensor

    with ops.use_backend("triton"), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        OPERATIONS[name](**tensors)
    assert saved
    assert set(saved) <= inputs


@pytest.mark.parametrize("tile", ["streamed"], indirect=True)
@pytest.mark.parametrize(("positions", "batch", "forward_passes"), [(None, 2, 1), (3, 2, 2), (None, 33, 2)])
def test_no_forward_pass_of_few_windows_runs_twice(monkeypatch, positions, batch, forward_passes):
    launched, launch = [], launcher.launch
    monkeypatch.setattr(launcher, "launch", lambda kernel, *rest: launched.append(kernel) or launch(kernel, *rest))
    run(OPERATIONS["both-max"], drawn(batch=batch, frames=5, hidden=14, positions=positions))
    assert [kernel.fn.__name__ for kernel in launched].count("forward") == forward_passes


@pytest.mark.parametrize("positions", [None, 3])
def test_features_of_both_directions_may_be_changed_in_place(positions):
    tensors = {name: t.requires_grad_() for name, t in drawn(frames=9, hidden=14, positions=positions).items()}
    x = tensors.pop("x")
    with ops.use_backend("triton"):
        one, other = ops.windowed_bilstm(x, tensors, tensors, kernel_size=3)
    before = other.detach().clone()
    one.mul_(2)
    assert torch.equal(other, before)
    one.sum().backward()
    assert x.grad.any()


@EVERY_TILE
@pytest.mark.parametrize("name", ["cell-last", "hidden-max", "both-max"])
def test_a_second_backward_pass_gives_the_same_gradients(name):
    # The first overwrites what the forward pass kept.
    leaves = [tensor.requires_grad_() for tensor in drawn(batch=2, frames=9, hidden=18).values()]
    with ops.use_backend("triton"):
        y = OPERATIONS[name](*leaves)
    first, second = (torch.autograd.grad(y.square().sum(), leaves, retain_graph=True) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@EVERY_TILE
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("autocast", [False, True])
def test_results_do_not_depend_on_whether_gradients_are_wanted(reduce, autocast):
    tensors = drawn(batch=2, frames=9, hidden=18)
    if not autocast:
        tensors = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    options = {"kernel_size": 3, "stride": 2, "sequence": "hidden", "reduce": reduce}
    with ops.use_backend("triton"), torch.autocast(DEVICE, torch.bfloat16, enabled=autocast):
        alone = ops.windowed_lstm(**tensors, **options)
        y = ops.windowed_lstm(**{name: tensor.requires_grad_() for name, tensor in tensors.items()}, **options)
    assert y.requires_grad
    # Two versions of a kernel may differ in which products and sums they fuse.
    torch.testing.assert_close(y, alone, rtol=1e-5, atol=1e-5)


@EVERY_TILE
@pytest.mark.parametrize("name", ["cell-last", "both-max"])
def test_activation_checkpointing_gives_the_same_gradients(name):
    leaves = [tensor.requires_grad_() for tensor in drawn(batch=2, frames=9, hidden=18).values()]
    operation = OPERATIONS[name]
    with ops.use_backend("triton"):
        results = [operation(*leaves), checkpoint(operation, *leaves, use_reentrant=False)]
        first, second = [torch.autograd.grad(y.square().sum(), leaves) for y in results]
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@EVERY_TILE
@pytest.mark.parametrize("name", ["cell-last", "hidden-max", "cell-mean", "hidden-none", "both-max"])
def test_a_call_that_is_traced_gives_the_same_values_and_gradients(name):
    tensors = drawn(batch=2, frames=9, hidden=18)
    expected = run(OPERATIONS[name], tensors)
    with torch.profiler.profile() as profiler:
        found = run(OPERATIONS[name], tensors)
    traced = "triton_windowed_bilstm" if name == "both-max" else "triton_windowed_lstm"
    assert f"convrnn::{traced}" in {event.name for event in profiler.events()}
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6)


def test_second_derivatives_are_refused_with_advice():
    for operation in (OPERATIONS["cell-last"], OPERATIONS["both-max"], ops.lstm):
        tensors = drawn(batch=2, frames=5, hidden=4)
        x = tensors["x"].requires_grad_()
        with ops.use_backend("triton"):
            cost = sum(y.square().sum() for y in outputs_of(operation, tensors).values())
        (gradient,) = torch.autograd.grad(cost, x, create_graph=True)
        with pytest.raises(RuntimeError, match=r'use_backend\("reference"\)'):
            torch.autograd.grad(gradient.sum(), x)


LAYERS = {
    "clstm": lambda: nn.CLSTM(3, 4, 3, 2, reduce="max"),
    "extended-clstm": lambda: nn.ExtendedCLSTM(3, 4, 3, 2),
    "cblstm": lambda: nn.CBLSTM(3, 4, 3, padding="same", learn_initial_state=True),
    "stacked": lambda: nn.CLSTM(3, 4, 3, 2, num_layers=2, bidirectional=True),
    "blstm": lambda: nn.LSTM(3, 4, bidirectional=True),
}


@pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)
def test_layers_and_compiled_layers_equal_the_references(make_layer):
    layer = randomised(make_layer, torch.float32).to(DEVICE)
    x, lengths = (tensor.to(DEVICE) for tensor in draw_batch(3, torch.float32))
    with ops.use_backend("reference"):
        expected = gradients(layer, x, lengths)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with ops.use_backend("triton"):
        results = [gradients(layer, x, lengths), gradients(layer, x, lengths, compiled)]
    for result in results:
        for value, wanted in zip(result, expected, strict=True):
            torch.testing.assert_close(value, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("name", ["triton_windowed_lstm", "triton_windowed_bilstm", "triton_lstm", "triton_bilstm"])
def test_registered_operations_keep_pytorchs_rules(name, everything):
    tensors = drawn(batch=2, frames=5, hidden=4, without=() if everything else OPTIONAL)
    leaves = [None if tensor is None else tensor.requires_grad_() for tensor in tensors.values()]
    lengths = torch.tensor([5, 2], device=DEVICE) if everything else None
    options = (3, 2, "hidden", "max") if everything else (2, 1, "cell", "last")
    backward = [None if leaf is None else leaf.detach().clone().requires_grad_() for leaf in leaves[1:]]
    arguments = {
        "triton_windowed_lstm": (*leaves, lengths, *options, everything, torch.float32),
        "triton_windowed_bilstm": (*leaves, lengths, *options, False, *backward, torch.float32),
        "triton_lstm": (*leaves, lengths, everything),
        "triton_bilstm": (*leaves, lengths, *backward),
    }[name]
    torch.library.opcheck(getattr(torch.ops.convrnn, name).default, arguments)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"weight_hh": torch.zeros(84, 21).half()}, r"weight_hh is torch\.float16, but x is torch\.float32"),
        ({"weight_hh": torch.zeros(85, 21)}, r"weight_hh must be \[4 \* hidden, hidden\], but has shape \[85, 21\]"),
        ({"weight_ih": torch.zeros(2, 84, 5)}, r"weight_ih must have shape \[84, 5\] or \[3, 84, 5\]"),
        ({"bias": torch.zeros(1)}, r"bias must have shape \[84\]"),
        ({"lengths": torch.tensor([11])}, r"lengths must be int64 with shape \[4\]"),
        (
            {"lengths": torch.tensor([11, 1, 1, 1], dtype=torch.int32)},
            r"lengths must be int64 with shape \[4\], but is torch\.int32",
        ),
    ],
    ids=["dtype", "weight_hh", "positions", "bias", "lengths", "lengths-dtype"],
)
def test_an_operation_refuses_wrong_operands(changes, sentence):
    options = {"lengths": None, "kernel_size": 3, "stride": 2, "sequence": "cell", "reduce": "last", "reverse": False}
    options |= {"dtype": torch.float32}
    with pytest.raises(ValueError, match=sentence):
        torch.ops.convrnn.triton_windowed_lstm(**(draw_float32() | options | changes))
