"""The native kernel on long windows, which go backward section by section from states that the forward pass saved."""

import functools
import itertools
import random
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convrnn import nn, ops
from native_kernels import (
    EVERY_SET,
    INSTRUCTION_SETS,
    Case,
    check_against_the_reference,
    needs_library,
    relative_errors,
    run_script,
)
from operations import GATES, cell_of, draw_float32, draw_lengths, native_and_reference, on, same, values_and_gradients

pytestmark = needs_library

SEQUENCES = ("hidden", "cell")
REDUCTIONS = ("last", "mean", "max", "none")
OPTIONAL = ("bias_hn", "weight_peephole", "initial_hidden", "initial_cell")
KINDS = [
    functools.partial(ops.windowed_rnn, nonlinearity="tanh"),
    functools.partial(ops.windowed_rnn, nonlinearity="relu"),
    functools.partial(ops.windowed_gru, reset_after=False),
    functools.partial(ops.windowed_gru, reset_after=True),
    functools.partial(ops.windowed_lstm, sequence="hidden"),
    functools.partial(ops.windowed_lstm, sequence="cell"),
]

SIZES = [
    # batch, frames, features, hidden, kernel_size, stride
    (2, 700, 1, 13, 400, 97),  # samples of a raw waveform
    (1, 1111, 1, 5, 1031, 80),  # sections that are cut into segments in turn
    (3, 150, 16, 33, 25, 10),  # milliseconds of one
    (27, 31, 3, 7, 9, 3),  # the shortest long window, in more than one tile
    (1, 1200, 2, 9, 17, 41),  # frames that no window contains
]


def remember(operation, tensors):
    """Opens the gates that keep the state, so that gradients reach the first step; as drawn, they vanish on the way."""
    gates = GATES[cell_of(operation)]
    if gates > 1:
        # f of an LSTM; z of a GRU, of which float32 loses digits in 1 - z.
        tensors["bias"].unflatten(0, (gates, -1))[1] += 5 if gates == 4 else 2
    if tensors.get("weight_peephole") is not None:
        tensors["weight_peephole"] *= 0.1


def case_that_remembers(operation, sizes, options, without, lengths, seed=0):
    case = Case(operation, sizes, options, without, lengths, seed=seed)
    remember(operation, case.tensors)
    return case


def every_case(size):
    """Every kind, reduction and direction, the other options drawn."""
    chance = random.Random(0)
    batch, frames, features, hidden, kernel_size, stride = size
    # The reference takes seconds for a thousand steps.
    directions = [False, True] if kernel_size < 1000 else [chance.random() < 0.5]
    for operation, reduce, reverse in itertools.product(KINDS, REDUCTIONS, directions):
        positions = chance.choice([None, kernel_size])
        sizes = {"batch": batch, "frames": frames, "features": features, "hidden": hidden, "positions": positions}
        options = {"kernel_size": kernel_size, "stride": stride, "reduce": reduce, "reverse": reverse}
        without = {name for name in OPTIONAL if chance.random() < 0.5}
        lengths = draw_lengths(batch, frames) if chance.random() < 0.5 else None
        yield case_that_remembers(operation, sizes, options, without, lengths)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "-".join(map(str, size)))
def test_values_and_gradients_are_the_references_in_float64(size):
    wrong = [
        (instruction_set, name, largest, case)
        for case in every_case(size)
        for instruction_set in INSTRUCTION_SETS
        for name, (largest, _, _) in case.errors(instruction_set).items()
        # Rounding grows over some hundred steps, in eager PyTorch too. The comparison is false for NaN.
        if not largest <= 1e-5 + 4 * max(of_eager for of_eager, _, _ in case.errors(None).values())
    ]
    assert not wrong


@settings(max_examples=25)
@given(
    kernel_size=st.integers(9, 90),
    beyond=st.lists(st.integers(-2, 60), min_size=1, max_size=3),
    stride=st.integers(1, 40),
    hidden=st.integers(1, 20),
    features=st.integers(1, 5),
    operation=st.sampled_from(KINDS),
    reduce=st.sampled_from(REDUCTIONS),
    reverse=st.booleans(),
    position_weights=st.booleans(),
    without=st.sets(st.sampled_from(OPTIONAL)),
    instruction_set=st.sampled_from(INSTRUCTION_SETS or ("none",)),
    seed=st.integers(0, 99),
)
def test_any_long_windows_are_the_references(
    operation, beyond, hidden, features, position_weights, without, instruction_set, seed, **options
):
    kernel_size = options["kernel_size"]
    lengths = torch.tensor([kernel_size + more for more in beyond])
    sizes = {"batch": len(beyond), "frames": max(kernel_size, int(lengths.max()))}
    sizes |= {"features": features, "hidden": hidden, "positions": kernel_size if position_weights else None}
    case = case_that_remembers(operation, sizes, options, without, lengths, seed)
    check_against_the_reference(case, instruction_set)


@pytest.mark.parametrize("reduce", ["last", "max"])
def test_layers_of_samples_in_both_directions(reduce):
    torch.manual_seed(0)
    layer = nn.CLSTM(1, 14, 400, 160, bidirectional=True, learn_initial_state=True, reduce=reduce)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    with torch.no_grad():
        layer.bias_l0.unflatten(0, (4, -1))[1] += 5
        layer.bias_l0_reverse.unflatten(0, (4, -1))[1] += 5
    x, lengths = torch.randn(3, 1200, 1), torch.tensor([1200, 399, 803])

    def results(layer, x):
        y = layer(x, lengths)
        return y.detach(), torch.autograd.grad(y.sum(), list(layer.parameters()))

    y, gradients = results(layer, x)
    with ops.use_backend("reference"):
        exact, exact_gradients = results(layer.double(), x.double())
    names = [name for name, _ in layer.named_parameters()]
    errors = relative_errors(
        {"y": y, **dict(zip(names, gradients, strict=True))},
        {"y": exact, **dict(zip(names, exact_gradients, strict=True))},
    )
    assert not {name: float(error.abs().max()) for name, error in errors.items() if not (error.abs() <= 1e-4).all()}


@EVERY_SET
@pytest.mark.parametrize("sequence", SEQUENCES)
@pytest.mark.parametrize("kernel_size", [30, 600])
def test_steps_that_attain_the_maximum_share_its_gradient(instruction_set, sequence, kernel_size):
    # Nothing but the forget gate and the initial state: from the step at which c has become 0 on, all states are 0.
    tensors = draw_float32(batch=1, frames=kernel_size + 7, features=1, hidden=6)
    tensors["weight_ih"][:] = tensors["weight_hh"][:] = tensors["weight_peephole"][:] = 0
    tensors["bias"][:] = torch.tensor([0.0, -200.0, 0.0, 0.5]).repeat_interleave(6)
    tensors["initial_cell"][:] = -1
    options = {"kernel_size": kernel_size, "stride": 3, "sequence": sequence, "reduce": "max"}
    ours, expected = native_and_reference(instruction_set, ops.windowed_lstm, tensors, **options)
    assert not ours["y"].any()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-5, atol=1e-6, msg=name)
    assert expected["gradient of bias"].any()


@EVERY_SET
def test_a_maximum_that_is_nan_has_gradients_of_nan(instruction_set):
    tensors = draw_float32(batch=1, frames=40, features=1, hidden=3)
    tensors["x"][0, 20] = torch.nan
    options = {"kernel_size": 30, "stride": 10, "reduce": "max"}
    ours, expected = native_and_reference(instruction_set, ops.windowed_lstm, tensors, **options)
    assert ours["y"].isnan().all()
    assert ours["gradient of bias"].isnan().any()
    assert expected["gradient of bias"].isnan().any()


@EVERY_SET
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_values_are_the_same_with_and_without_gradients(instruction_set, reduce):
    tensors = draw_float32(frames=90, features=1)
    options = {"kernel_size": 71, "stride": 6, "reduce": reduce}
    with on(instruction_set):
        without = ops.windowed_lstm(**tensors, **options)
        assert torch.equal(without, ops.windowed_lstm(**tensors | {"x": tensors["x"].requires_grad_()}, **options))


def test_every_bit_is_the_same_for_any_number_of_threads():
    tensors, before = draw_float32(batch=9, frames=600, features=1, hidden=20), torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            options = {"kernel_size": 100, "stride": 7, "reduce": "max"}
            results.append(values_and_gradients(ops.windowed_lstm, tensors, **options))
    finally:
        torch.set_num_threads(before)
    assert same(results[0], results[1])
    assert same(results[0], results[2])


PEAK = """
import ctypes, json, sys, torch
from pathlib import Path
from operations import draw_float32
from convrnn import ops

torch.set_num_threads(1)
kernel_size = int(sys.argv[1])
tensors = draw_float32(batch=1, frames=kernel_size + 48 * 160, features=1, hidden=100)
x = tensors.pop("x")
leaves = {name: tensor.requires_grad_() for name, tensor in tensors.items()}

def step():
    y = ops.windowed_lstm(x, **leaves, kernel_size=kernel_size, stride=160)
    torch.autograd.grad(y.sum(), list(leaves.values()))

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])

step()
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
step()
print(json.dumps(status("VmHWM") - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux only")
def test_memory_does_not_grow_with_the_window():
    short, long = (run_script(PEAK, str(kernel_size)) for kernel_size in (400, 1600))
    # Each of the 1200 steps more would take 80 kB to keep.
    assert long < short + 10e6
