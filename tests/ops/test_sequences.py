"""Whole sequences: against PyTorch's networks and the equations; derivatives, padding and cost."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import naive
from convrnn import ops
from operations import SEQUENCES, TORCH, draw, draw_for, graph_nodes, load_torch, outputs_of

KINDS = [
    ("rnn", {"nonlinearity": "relu"}),
    ("gru", {"reset_after": True}),
    ("gru", {"reset_after": False}),
    ("lstm", {}),
]
EVERY_KIND = pytest.mark.parametrize(("cell", "options"), KINDS, ids=lambda value: str(value))
OPTIONAL = ["bias", "bias_hn", "weight_peephole", "initial_hidden", "initial_cell"]


def registered(cell, tensors, *, lengths=None, reverse=False, **options):
    """The states by name, by the operation of compiled programs."""
    operation = getattr(torch.ops.convrnn, cell)
    # It has no defaults.
    tensors = ({"bias_hn": None} if cell == "gru" else {}) | tensors
    return outputs_of(operation, tensors, lengths=lengths, reverse=reverse, **options)


def eager(cell, tensors, **options):
    return outputs_of(SEQUENCES[cell], tensors, **options)


PATHS = pytest.mark.parametrize("operation", [eager, registered])


@PATHS
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_states_equal_pytorchs_of_packed_sequences(operation, cell, reverse):
    tensors = draw(cell, batch=3)
    lengths = torch.tensor([7, 1, 4])
    module = TORCH[cell](3, 4, batch_first=True, bidirectional=True, dtype=torch.float64)
    load_torch(module, tensors, "_reverse" if reverse else "")
    packed = torch.nn.utils.rnn.pack_padded_sequence(tensors["x"], lengths, batch_first=True, enforce_sorted=False)
    initial = [tensors[name].expand(2, 3, 4) for name in ("initial_hidden", "initial_cell") if name in tensors]
    states, final = module(packed, tuple(initial) if cell == "lstm" else initial[0])
    states, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
    options = {"rnn": {"nonlinearity": "tanh"}, "gru": {"reset_after": True}, "lstm": {}}[cell]
    if cell == "lstm":
        tensors["weight_peephole"] = None
    found = operation(cell, tensors, lengths=lengths, reverse=reverse, **options)
    direction = int(reverse)
    # Float64: the same sums in another order.
    torch.testing.assert_close(found["hidden"], states.chunk(2, dim=-1)[direction], rtol=0, atol=1e-12)
    if cell == "lstm":
        last = [0, 0, 0] if reverse else [6, 0, 3]
        torch.testing.assert_close(found["cell"][range(3), last], final[1][direction], rtol=0, atol=1e-12)


@given(
    kind=st.sampled_from([*KINDS, ("rnn", {"nonlinearity": "tanh"}), ("rnn", {"nonlinearity": "sigmoid"})]),
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=3),
    beyond=st.integers(0, 2),
    reverse=st.booleans(),
    without=st.sets(st.sampled_from(OPTIONAL)),
    seed=st.integers(0, 99),
)
def test_the_states_equal_the_equations_frame_by_frame(kind, lengths, beyond, reverse, without, seed):
    cell, options = kind
    tensors = draw_for(cell, options, batch=len(lengths), frames=max(1, *lengths) + beyond, seed=seed)
    tensors |= dict.fromkeys(without & tensors.keys())
    given_lengths = torch.tensor(lengths)
    found = eager(cell, tensors, lengths=given_lengths, reverse=reverse, **options)
    parameters = {name: t.numpy() for name, t in tensors.items() if t is not None and name != "x"}
    for row, length in enumerate(lengths):
        expected = naive.states(cell, tensors["x"][row, :length].numpy(), parameters, reverse=reverse, **options)
        for states, of_equations in zip(found.values(), expected, strict=False):
            # float64, a few steps: rounding only.
            torch.testing.assert_close(states[row, :length], torch.from_numpy(of_equations), rtol=1e-12, atol=1e-12)
            assert not states[row, length:].any()
    same = registered(cell, tensors, lengths=given_lengths, reverse=reverse, **options)
    assert all(torch.equal(same[name], states) for name, states in found.items())


@EVERY_KIND
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 2]])
def test_first_and_second_derivatives_are_right(cell, options, reverse, lengths):
    if options.get("nonlinearity"):
        # Finite differences need a derivative everywhere.
        options = {"nonlinearity": "sigmoid"}
    tensors = draw_for(cell, options, frames=4, features=2, hidden=2)
    leaves = [t.requires_grad_() for t in tensors.values()]
    lengths = None if lengths is None else torch.tensor(lengths)

    def operation(*values):
        named = dict(zip(tensors, values, strict=True))
        return tuple(eager(cell, named, lengths=lengths, reverse=reverse, **options).values())

    assert torch.autograd.gradcheck(operation, leaves)
    assert torch.autograd.gradgradcheck(operation, leaves, fast_mode=True)


@PATHS
@EVERY_KIND
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_reaches_neither_states_nor_gradients(operation, cell, options, reverse):
    lengths = torch.tensor([7, 4, 0])
    inside = ops.geometry.frame_mask(lengths, 7)
    results = []
    for padding in (0.0, torch.nan, torch.inf):
        tensors = draw_for(cell, options, batch=3)
        tensors["x"][~inside] = padding
        leaves = [tensor.requires_grad_() for tensor in tensors.values()]
        states = operation(cell, tensors, lengths=lengths, reverse=reverse, **options).values()
        sum(each.sin().sum() for each in states).backward()
        assert not any(each[~inside].any() for each in states)
        assert not tensors["x"].grad[~inside].any()
        results.append([*states, *(leaf.grad for leaf in leaves)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@EVERY_KIND
@pytest.mark.parametrize("without", [[], OPTIONAL])
@pytest.mark.parametrize("unused", [None, "hidden", "cell"])
def test_registered_gradients_equal_the_references(cell, options, without, unused):
    if unused and cell != "lstm":
        pytest.skip("has one result")
    lengths = torch.tensor([7, 4])
    gradients = []
    for operation in (eager, registered):
        tensors = draw_for(cell, options)
        tensors |= dict.fromkeys(tensors.keys() & without)
        leaves = [tensor.requires_grad_() for tensor in tensors.values() if tensor is not None]
        states = operation(cell, tensors, lengths=lengths, reverse=True, **options)
        cost = sum(states[name].sin().sum() for name in states.keys() - {unused})
        gradients.append(torch.autograd.grad(cost, leaves, materialize_grads=True))
    # The same operations in the same order.
    for reference, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, reference, rtol=1e-13, atol=1e-13)


@EVERY_KIND
def test_the_backward_graph_selects_no_single_frame(cell, options):
    per_length = []
    for frames in (5, 10, 15):
        tensors = {name: t.requires_grad_() for name, t in draw_for(cell, options, frames=frames).items()}
        lengths = torch.tensor([frames, 3])
        states = eager(cell, tensors, lengths=lengths, reverse=True, **options)
        names = graph_nodes(*states.values())
        assert not [name for name in names if name.startswith(("Select", "Slice", "Index"))]
        # The nodes that reverse the input and the results, whatever the length.
        assert names.count("GatherBackward0") == 1 + len(states)
        per_length.append(len(names))
    assert per_length[2] - per_length[1] == per_length[1] - per_length[0]


@EVERY_KIND
def test_the_registered_operation_keeps_pytorchs_rules(cell, options):
    tensors = [t.requires_grad_() for t in draw_for(cell, options, frames=3).values()]
    operation = getattr(torch.ops.convrnn, cell).default
    if cell == "gru" and len(tensors) == 5:
        tensors.insert(4, None)
    own = tuple(options.values())
    torch.library.opcheck(operation, (*tensors, torch.tensor([3, 2]), *own, True))
    tensors[3:] = [None] * len(tensors[3:])
    torch.library.opcheck(operation, (*tensors, None, *own, False))


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
