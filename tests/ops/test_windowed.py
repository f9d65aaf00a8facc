"""The operations over windows: against PyTorch's networks and the equations; derivatives, padding and cost."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import naive
from convrnn import ops
from operations import TORCH, WINDOWED, draw, draw_for, graph_nodes, load_torch

REDUCE = ("last", "mean", "max", "none")
KINDS = [("rnn", {"nonlinearity": "relu"}), ("gru", {"reset_after": True}), ("gru", {}), ("lstm", {})]
LSTM_SEQUENCES = [("lstm", {"sequence": "hidden"}), ("lstm", {"sequence": "cell"})]


@pytest.mark.parametrize("reduce", REDUCE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("rnn_type", ["rnn", "gru", "lstm"])
def test_every_window_equals_pytorchs_network(rnn_type, reverse, reduce):
    kernel_size, stride = 4, 2
    tensors = draw(rnn_type, frames=9)
    hidden = tensors["weight_hh"].size(1)
    module = TORCH[rnn_type](3, hidden, batch_first=True, dtype=torch.float64)
    load_torch(module, tensors)
    windows = tensors["x"].unfold(1, kernel_size, stride).transpose(2, 3)
    flat = windows.flatten(0, 1)
    initial = [
        tensors[name].expand(1, len(flat), hidden) for name in ("initial_hidden", "initial_cell") if name in tensors
    ]
    states, final = module(flat.flip(1) if reverse else flat, tuple(initial) if rnn_type == "lstm" else initial[0])
    ordered = (states.flip(1) if reverse else states).unflatten(0, windows.shape[:2])
    expected = {
        "last": states[:, -1].unflatten(0, windows.shape[:2]),
        "mean": ordered.mean(2),
        "max": ordered.amax(2),
        "none": ordered,
    }[reduce]
    tensors.pop("weight_peephole", None)
    options = {"gru": {"reset_after": True}, "lstm": {"sequence": "hidden"}}.get(rnn_type, {})
    y = WINDOWED[rnn_type](**tensors, **options, kernel_size=kernel_size, stride=stride, reduce=reduce, reverse=reverse)
    # Float64: the same sums in another order.
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    if rnn_type == "lstm" and reduce == "last":
        cell = ops.windowed_lstm(**tensors, kernel_size=kernel_size, stride=stride, reverse=reverse)
        torch.testing.assert_close(cell.flatten(0, 1), final[1][0], rtol=0, atol=1e-12)


@given(
    kind=st.sampled_from([*KINDS[:3], *LSTM_SEQUENCES]),
    nonlinearity=st.sampled_from(["tanh", "sigmoid", "relu"]),
    reduce=st.sampled_from(REDUCE),
    kernel_size=st.integers(1, 5),
    stride=st.integers(1, 4),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=3),
    position_weights=st.booleans(),
    reverse=st.booleans(),
    without=st.sets(st.sampled_from(["bias", "bias_hn", "weight_peephole", "initial_hidden", "initial_cell"])),
    seed=st.integers(0, 99),
)
def test_every_window_equals_the_equations(
    kind, nonlinearity, reduce, kernel_size, stride, lengths, position_weights, reverse, without, seed
):
    rnn_type, options = kind
    if rnn_type == "rnn":
        options = {"nonlinearity": nonlinearity}
    frames = max(kernel_size, *lengths)
    positions = kernel_size if position_weights else None
    sizes = {"batch": len(lengths), "frames": frames, "positions": positions, "seed": seed}
    tensors = draw_for(rnn_type, options, **sizes)
    optional = set(tensors) - {"x", "weight_ih", "weight_hh"}
    given_tensors = {name: None if name in without & optional else t for name, t in tensors.items()}
    y = WINDOWED[rnn_type](
        **given_tensors,
        **options,
        kernel_size=kernel_size,
        stride=stride,
        reduce=reduce,
        reverse=reverse,
        lengths=torch.tensor(lengths),
    )
    parameters = {name: t.numpy() for name, t in given_tensors.items() if t is not None and name != "x"}
    sequence = options.get("sequence")
    loop_options = {name: value for name, value in options.items() if name != "sequence"}
    expected = torch.zeros_like(y)
    for row, length in enumerate(lengths):
        for number, window in enumerate(naive.windows(tensors["x"][row, :length].numpy(), kernel_size, stride)):
            h, c = naive.states(rnn_type, window, parameters, reverse=reverse, **loop_options)
            features = naive.reduce_frames(c if sequence == "cell" else h, reduce, reverse)
            expected[row, number] = torch.from_numpy(features)
    # float64, a few steps: rounding only.
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


DERIVATIVES = [
    (kind, reduce, reverse, lengths)
    for kind, reduce, reverse, lengths in itertools.product(
        [("rnn", {"nonlinearity": "sigmoid"}), ("gru", {}), ("gru", {"reset_after": True}), *LSTM_SEQUENCES],
        REDUCE,
        [False, True],
        [None, [4, 3]],
    )
]


@pytest.mark.parametrize(("kind", "reduce", "reverse", "lengths"), DERIVATIVES)
def test_first_and_second_derivatives_are_right(kind, reduce, reverse, lengths):
    rnn_type, options = kind
    tensors = draw_for(rnn_type, options, frames=4, features=2, hidden=2, positions=3 if reverse else None)
    names = list(tensors)
    leaves = [tensor.requires_grad_() for tensor in tensors.values()]

    def operation(*values):
        return WINDOWED[rnn_type](
            **dict(zip(names, values, strict=True)),
            **options,
            kernel_size=3,
            reduce=reduce,
            reverse=reverse,
            lengths=None if lengths is None else torch.tensor(lengths),
        )

    # The fast mode compares random projections of the Jacobians: a wrong entry shows with probability 1.
    assert torch.autograd.gradcheck(operation, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(operation, leaves, fast_mode=True)


@pytest.mark.parametrize("reduce", REDUCE)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_padding_affects_neither_outputs_nor_gradients(kind, reverse, reduce):
    rnn_type, options = kind
    lengths = torch.tensor([7, 4, 2])
    inside = ops.geometry.frame_mask(lengths, 7)
    results = []
    for padding in (0.0, 1e30, torch.nan, torch.inf):
        tensors = draw_for(rnn_type, options, batch=3)
        tensors["x"][~inside] = padding
        leaves = [tensor.requires_grad_() for tensor in tensors.values()]
        y = WINDOWED[rnn_type](
            **tensors, **options, kernel_size=3, stride=2, reduce=reduce, reverse=reverse, lengths=lengths
        )
        y.square().sum().backward()
        assert not tensors["x"].grad[~inside].any()
        # Two windows of the second sequence, none of the third.
        assert y[0].any()
        assert not y[1, 1:].any()
        assert not y[2].any()
        results.append([y, *(leaf.grad for leaf in leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_backward_graph_selects_no_single_frame(kind):
    rnn_type, options = kind
    counts = []
    for kernel_size in (3, 6, 9):
        tensors = draw_for(rnn_type, options, frames=12)
        for tensor in tensors.values():
            tensor.requires_grad_()
        names = graph_nodes(WINDOWED[rnn_type](**tensors, **options, kernel_size=kernel_size, reduce="mean"))
        # Selecting a frame costs a gradient of the size of the whole tensor, and there is one more window per frame.
        assert not [name for name in names if name.startswith(("Select", "Slice", "Index", "Gather"))]
        assert names.count("UnfoldBackward0") == 1
        counts.append(len(names))
    # Every further step costs the same.
    assert counts[2] - counts[1] == counts[1] - counts[0]


def multiplications(operation, **inputs):
    with FlopCounterMode(display=False) as counter:
        operation(**inputs)
    # The counter counts products and sums.
    return counter.get_total_flops() // 2


@pytest.mark.parametrize(("rnn_type", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_the_input_is_projected_once_per_frame(rnn_type, gates):
    batch, frames, features, hidden, kernel_size = 2, 12, 3, 4, 5
    tensors = draw_for(rnn_type, {}, batch=batch, frames=frames, features=features, hidden=hidden)
    windows = frames - kernel_size + 1
    steps_with_a_state_of_their_own = batch * windows * (kernel_size - 1)
    recurrent = gates * hidden * hidden * (steps_with_a_state_of_their_own + 1)
    if rnn_type == "gru":
        # The candidate's product follows the reset gate, which differs between windows in the first step.
        recurrent += hidden * hidden * (batch * windows - 1)
    projection = gates * hidden * features * batch * frames
    assert multiplications(WINDOWED[rnn_type], **tensors, kernel_size=kernel_size) == projection + recurrent


@pytest.mark.parametrize(
    ("kind", "reduce", "lengths"),
    [(KINDS[0], "max", [4, 3]), (KINDS[1], "none", None), (KINDS[3], "last", [4, 0])],
    ids=str,
)
def test_the_registered_operation_keeps_pytorchs_rules(kind, reduce, lengths):
    rnn_type, options = kind
    tensors = [tensor.requires_grad_() for tensor in draw_for(rnn_type, options, frames=4).values()]
    lengths = None if lengths is None else torch.tensor(lengths)
    # Tracing forward and backward takes seconds; the compile tests of the layers do it for the other two.
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    torch.library.opcheck(
        getattr(torch.ops.convrnn, f"windowed_{rnn_type}").default,
        tuple(tensors),
        {**options, "kernel_size": 2, "stride": 2, "reduce": reduce, "lengths": lengths, "reverse": True},
        test_utils=[*checks, "test_aot_dispatch_dynamic"] if rnn_type == "rnn" else checks,
    )


def wrong(rnn_type, **changes):
    return {**{"kernel_size": 3}, **draw(rnn_type), **changes}


REFUSALS = [
    ("lstm", {"kernel_size": 0}, "kernel_size must be at least 1, but is 0"),
    ("lstm", {"kernel_size": 8}, "kernel_size is 8, longer than x with its 7 frames"),
    ("lstm", {"stride": 0}, "stride must be at least 1, but is 0"),
    ("lstm", {"reduce": "sum"}, "reduce is 'sum'; it must be one of 'last', 'mean', 'max', 'none'"),
    ("lstm", {"sequence": "output"}, "sequence is 'output'; it must be one of 'hidden', 'cell'"),
    ("rnn", {"nonlinearity": "elu"}, "nonlinearity is 'elu'"),
    ("gru", {}, "bias_hn is given, but reset_after is False"),
    ("lstm", {"x": torch.zeros(2, 7)}, r"x must be \[batch, frames, features\], but has shape \[2, 7\]"),
    ("lstm", {"x": torch.zeros(2, 7, 3, dtype=torch.long)}, "x must be of a floating dtype, but is torch.int64"),
    ("lstm", {"x": torch.zeros(2, 7, 5)}, r"weight_ih must have shape \[16, 5\] or \[3, 16, 5\]"),
    ("lstm", {"weight_hh": torch.zeros(12, 4)}, r"weight_hh must be \[4 \* hidden, hidden\]"),
    ("rnn", {"weight_hh": torch.zeros(4)}, r"weight_hh must be \[1 \* hidden, hidden\]"),
    ("lstm", {"weight_ih": torch.zeros(2, 16, 3)}, r"weight_ih must have .* but has shape \[2, 16, 3\]"),
    ("lstm", {"bias": torch.zeros(4)}, r"bias must have shape \[16\], but has shape \[4\]"),
    ("lstm", {"weight_peephole": torch.zeros(4, 3)}, r"weight_peephole must have shape \[3, 4\]"),
    ("lstm", {"initial_hidden": torch.zeros(2, 4)}, r"initial_hidden must have shape \[4\]"),
    ("lstm", {"initial_cell": torch.zeros(5)}, r"initial_cell must have shape \[4\]"),
    ("gru", {"reset_after": True, "bias_hn": torch.zeros(12)}, r"bias_hn must have shape \[4\]"),
    (
        "lstm",
        {"weight_hh": torch.zeros(16, 4, dtype=torch.float32)},
        "weight_hh is torch.float32, but x is torch.float64",
    ),
    ("lstm", {"initial_cell": torch.zeros(4, dtype=torch.float32)}, "initial_cell is torch.float32, but x is"),
    ("rnn", {"lengths": [7, 7]}, "lengths must be an int64 tensor, but is a list"),
    ("rnn", {"lengths": torch.tensor([7])}, r"lengths must be int64 with shape \[2\], but .* shape \[1\]"),
    ("rnn", {"lengths": torch.tensor([7, 7], dtype=torch.int32)}, "lengths must be int64 .* torch.int32"),
    ("rnn", {"lengths": torch.tensor([7, 8])}, r"lengths must lie between 0 and 7.* but lengths\[1\] is 8"),
    ("rnn", {"lengths": torch.tensor([-1, 7])}, r"lengths must lie between 0 and 7.* but lengths\[0\] is -1"),
    ("rnn", {"lengths": torch.tensor([7, 7], device="meta")}, "lengths must be on x's device, cpu, but is on meta"),
]


@pytest.mark.parametrize(("rnn_type", "changes", "sentence"), REFUSALS, ids=[row[2][:40] for row in REFUSALS])
def test_errors_name_the_argument(rnn_type, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        WINDOWED[rnn_type](**wrong(rnn_type, **changes))
