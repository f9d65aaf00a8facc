"""The LSTM over whole sequences: against PyTorch's LSTM and the equations; derivatives, padding and cost."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive
from convrnn import ops
from operations import draw, graph_nodes


def registered(*tensors, lengths=None, reverse=False):
    return torch.ops.convrnn.lstm(*tensors, lengths, reverse)


def eager(*tensors, lengths=None, reverse=False):
    return ops.lstm(*tensors, lengths=lengths, reverse=reverse)


PATHS = pytest.mark.parametrize("operation", [eager, registered])


@PATHS
@pytest.mark.parametrize("reverse", [False, True])
def test_the_lstm_equals_pytorchs_packed_lstm(operation, reverse):
    tensors = draw("lstm", batch=3)
    lengths = torch.tensor([7, 1, 4])
    module = torch.nn.LSTM(3, 4, batch_first=True, bidirectional=True, dtype=torch.float64)
    suffix = "_reverse" if reverse else ""
    zeros = torch.zeros_like(tensors["bias"])
    named = {"weight_ih": tensors["weight_ih"], "weight_hh": tensors["weight_hh"], "bias_ih": tensors["bias"]}
    state = {f"{name}_l0{suffix}": value for name, value in (named | {"bias_hh": zeros}).items()}
    module.load_state_dict(state, strict=False)
    packed = torch.nn.utils.rnn.pack_padded_sequence(tensors["x"], lengths, batch_first=True, enforce_sorted=False)
    initial = [tensors[name].expand(2, 3, 4) for name in ("initial_hidden", "initial_cell")]
    states, (_, final_cell) = module(packed, tuple(initial))
    states, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    tensors["weight_peephole"] = None
    hidden, cell = operation(*tensors.values(), lengths=lengths, reverse=reverse)
    direction = int(reverse)
    # Float64: the same sums in another order.
    torch.testing.assert_close(hidden, states.chunk(2, dim=-1)[direction], rtol=0, atol=1e-12)
    last = [0, 0, 0] if reverse else [6, 0, 3]
    torch.testing.assert_close(cell[range(3), last], final_cell[direction], rtol=0, atol=1e-12)


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    beyond=st.integers(0, 2),
    reverse=st.booleans(),
    without=st.sets(st.sampled_from(["bias", "weight_peephole", "initial_hidden", "initial_cell"])),
    seed=st.integers(0, 99),
)
def test_the_lstm_equals_the_equations_frame_by_frame(lengths, beyond, reverse, without, seed):
    tensors = draw("lstm", batch=len(lengths), frames=max(1, *lengths) + beyond, seed=seed)
    tensors |= dict.fromkeys(without)
    given_lengths = torch.tensor(lengths)
    hidden, cell = ops.lstm(**tensors, lengths=given_lengths, reverse=reverse)
    parameters = {name: t.numpy() for name, t in tensors.items() if t is not None and name != "x"}
    for row, length in enumerate(lengths):
        h, c = naive.states("lstm", tensors["x"][row, :length].numpy(), parameters, reverse=reverse)
        # float64, a few steps: rounding only.
        torch.testing.assert_close(hidden[row, :length], torch.from_numpy(h), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(cell[row, :length], torch.from_numpy(c), rtol=1e-12, atol=1e-12)
        assert not hidden[row, length:].any()
        assert not cell[row, length:].any()
    same = registered(*tensors.values(), lengths=given_lengths, reverse=reverse)
    assert torch.equal(same[0], hidden)
    assert torch.equal(same[1], cell)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 2]])
def test_first_and_second_derivatives_are_right(reverse, lengths):
    leaves = [t.requires_grad_() for t in draw("lstm", frames=4, features=2, hidden=2).values()]
    lengths = None if lengths is None else torch.tensor(lengths)

    def operation(*tensors):
        return ops.lstm(*tensors, lengths=lengths, reverse=reverse)

    assert torch.autograd.gradcheck(operation, leaves)
    assert torch.autograd.gradgradcheck(operation, leaves, fast_mode=True)


@PATHS
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_reaches_neither_states_nor_gradients(operation, reverse):
    lengths = torch.tensor([7, 4, 0])
    inside = ops.geometry.frame_mask(lengths, 7)
    results = []
    for padding in (0.0, torch.nan, torch.inf):
        tensors = draw("lstm", batch=3)
        tensors["x"][~inside] = padding
        leaves = [tensor.requires_grad_() for tensor in tensors.values()]
        hidden, cell = operation(*leaves, lengths=lengths, reverse=reverse)
        (hidden.square().sum() + cell.sin().sum()).backward()
        assert not hidden[~inside].any()
        assert not cell[~inside].any()
        assert not tensors["x"].grad[~inside].any()
        results.append([hidden, cell, *(leaf.grad for leaf in leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("without", [[], ["bias", "weight_peephole", "initial_hidden", "initial_cell"]])
@pytest.mark.parametrize("used", ["both", "hidden", "cell"])
def test_registered_gradients_equal_the_references(without, used):
    lengths = torch.tensor([7, 4])
    gradients = []
    for operation in (eager, registered):
        tensors = draw("lstm") | dict.fromkeys(without)
        leaves = [tensor.requires_grad_() for tensor in tensors.values() if tensor is not None]
        hidden, cell = operation(*tensors.values(), lengths=lengths, reverse=True)
        cost = {"both": hidden.sin().sum() + cell.cos().sum(), "hidden": hidden.sin().sum(), "cell": cell.cos().sum()}
        gradients.append(torch.autograd.grad(cost[used], leaves, materialize_grads=True))
    # The same operations in the same order.
    for reference, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, reference, rtol=1e-13, atol=1e-13)


def test_the_backward_graph_selects_no_single_frame():
    per_length = []
    for frames in (5, 10, 15):
        tensors = [t.requires_grad_() for t in draw("lstm", frames=frames).values()]
        lengths = torch.tensor([frames, 3])
        names = graph_nodes(*ops.lstm(*tensors, lengths=lengths, reverse=True))
        assert not [name for name in names if name.startswith(("Select", "Slice", "Index"))]
        # The three nodes that reverse the input and the two results, whatever the length.
        assert names.count("GatherBackward0") == 3
        per_length.append(len(names))
    assert per_length[2] - per_length[1] == per_length[1] - per_length[0]


def test_the_registered_operation_keeps_pytorchs_rules():
    tensors = [t.requires_grad_() for t in draw("lstm", frames=3).values()]
    torch.library.opcheck(torch.ops.convrnn.lstm.default, (*tensors, torch.tensor([3, 2]), True))
    tensors[3:] = [None] * 4
    torch.library.opcheck(torch.ops.convrnn.lstm.default, (*tensors, None, False))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x": torch.zeros(7, 3)}, r"x must be \[batch, frames, features\]"),
        ({"x": torch.zeros(2, 0, 3)}, "x must have at least one frame, but has none"),
        ({"weight_ih": torch.zeros(3, 16, 3)}, r"weight_ih must have shape \[16, 3\], but has shape \[3, 16, 3\]"),
        ({"weight_hh": torch.zeros(4, 16)}, r"weight_hh must be \[4 \* hidden, hidden\]"),
        ({"bias": torch.zeros(2, 16)}, r"bias must have shape \[16\]"),
        ({"weight_peephole": torch.zeros(12)}, r"weight_peephole must have shape \[3, 4\]"),
        ({"initial_hidden": torch.zeros(3)}, r"initial_hidden must have shape \[4\]"),
        ({"initial_cell": torch.zeros(3)}, r"initial_cell must have shape \[4\]"),
        ({"lengths": torch.tensor([8, 1])}, r"lengths must lie between 0 and 7.*lengths\[0\] is 8"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_errors_name_the_argument(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ops.lstm(**(draw("lstm") | changes))


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with (
        pytest.raises(ValueError, match="backend 'cuda' does not exist; choose from reference"),
        ops.use_backend("cuda"),
    ):
        pass
    with ops.use_backend("reference"):
        hidden, _ = ops.lstm(**draw("lstm"))
    assert hidden.shape == (2, 7, 4)
