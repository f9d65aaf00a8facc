"""Cells as data: a new cell needs only its record, and everything else follows the records."""

import copy
import dataclasses
import inspect
import itertools
import pickle
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

import naive
from check_layer import check_layer, draw_batch, gradients, randomised
from convrnn import nn, ops
from convrnn.models import FRONT_ENDS, SequenceClassifier, preset
from convrnn.models.config import ConvRNNConfig
from convrnn.nn.cells import CELLS, Cell, CellOption, CellTensor
from convrnn.ops import reference
from operations import WINDOWED, draw, same, values_and_gradients

FEATURES = 3


def mgu_step(wx, h, W_h):
    """The minimal gated unit of Zhou et al. (2016)."""
    wx_f, wx_n = wx.chunk(2, dim=-1)
    W_f, W_n = W_h.chunk(2)
    f = torch.sigmoid(wx_f + F.linear(h, W_f))
    n = torch.tanh(wx_n + F.linear(f * h, W_n))
    return (1 - f) * h + f * n


MGU = Cell("mgu", gates=("f", "n"), step=mgu_step)


def coupled_step(wx, h, c, W_h, peephole=None, squash="tanh"):
    """An LSTM whose input gate is what its forget gate leaves, with one peephole."""
    a_f, a_g, a_o = (wx + F.linear(h, W_h)).chunk(3, dim=-1)
    f = torch.sigmoid(a_f if peephole is None else a_f + peephole * c)
    c = f * c + (1 - f) * torch.tanh(a_g)
    return torch.sigmoid(a_o) * (torch.tanh(c) if squash == "tanh" else c), c


COUPLED = Cell(
    "coupled",
    gates=("f", "g", "o"),
    step=coupled_step,
    cell_states=True,
    tensors=(CellTensor("peephole", ("hidden",), needs=("looks",)),),
    options=(
        CellOption("looks", default=True, allowed=(False, True), doc="Connect c to the gate.", in_step=False),
        CellOption("squash", default="tanh", allowed=("tanh", "none"), doc="What h takes of c."),
    ),
)

LAYERS = {
    "mgu": lambda: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=MGU),
    "mgu-layers": lambda: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=MGU, num_layers=2, reduce="max"),
    "mgu-directions": lambda: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=MGU, bidirectional=True, reduce="mean"),
    "mgu-positions": lambda: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=MGU, position_weights=True, bias=False),
    "mgu-same": lambda: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=MGU, padding="same", learn_initial_state=True),
    "mgu-everything": lambda: nn.ConvRNN(
        FEATURES,
        4,
        3,
        2,
        rnn_type=MGU,
        projection=True,
        hidden_size=3,
        num_layers=2,
        bidirectional=True,
        position_weights=True,
        learn_initial_state=True,
        padding="same",
        reduce="max",
    ),
    "coupled": lambda: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=COUPLED, learn_initial_state=True),
    **{
        f"built-in-{name}": lambda name=name: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=name, num_layers=2)
        for name in CELLS
    },
    "coupled-layers": lambda: nn.ConvRNN(
        FEATURES, 4, 3, 2, rnn_type=COUPLED, num_layers=2, bidirectional=True, sequence="hidden", squash="none"
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_contract(name):
    check_layer(LAYERS[name], FEATURES, compiles=name in ("mgu", "mgu-everything", "coupled"))


@pytest.mark.parametrize(
    ("bidirectional", "position_weights", "padding"),
    [*itertools.product([False, True], [False, True], ["valid", "same"])],
)
def test_a_new_cell_computes_its_equations_in_every_window(bidirectional, position_weights, padding):
    options = {"bidirectional": bidirectional, "position_weights": position_weights, "padding": padding}
    layer = randomised(
        lambda: nn.ConvRNN(FEATURES, 4, 3, 2, rnn_type=MGU, reduce="mean", learn_initial_state=True, **options)
    )
    x, lengths = draw_batch(FEATURES)
    y = layer(x, lengths).detach().numpy()
    parameters = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    for row, length in enumerate(lengths):
        windows = naive.windows(x[row, :length].numpy(), 3, 2, padding)
        assert not y[row, len(windows) :].any()
        for found, window in zip(y[row], windows, strict=False):
            expected = []
            for suffix in ("_l0", "_l0_reverse") if bidirectional else ("_l0",):
                W_x, W_h = parameters[f"weight_ih{suffix}"], parameters[f"weight_hh{suffix}"]
                b, h, n = parameters[f"bias{suffix}"], parameters[f"initial_hidden{suffix}"], W_h.shape[1]
                states = []
                for t in reversed(range(3)) if suffix.endswith("reverse") else range(3):
                    wx = (W_x[t] if position_weights else W_x) @ window[t] + b
                    f = naive.sigmoid(wx[:n] + W_h[:n] @ h)
                    h = (1 - f) * h + f * np.tanh(wx[n:] + W_h[n:] @ (f * h))
                    states.append(h)
                expected.append(np.mean(states, axis=0))
            np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-12, atol=1e-12)


def test_a_cell_without_an_operation_runs_its_step_in_both_directions():
    def step(wx, h, c, W_h, weight_peephole=None):
        h, c = reference.lstm_step(wx, h, c, W_h, weight_peephole)
        return h + 1, c

    own = dataclasses.replace(CELLS["lstm"], name="own", step=step, operation=None)
    x, lengths = draw_batch(FEATURES)
    layers = [
        randomised(lambda cell=cell: nn.ConvRNN(FEATURES, 4, 3, rnn_type=cell, sequence="hidden", bidirectional=True))
        for cell in ("lstm", own)
    ]
    plain, shifted = (layer(x, lengths) for layer in layers)
    assert ((plain - shifted).abs() > 0.1).any(dim=(0, 1)).all()


def test_a_layer_has_the_tensors_and_options_of_its_record():
    layer = nn.ConvRNN(3, 4, 5, rnn_type=COUPLED, learn_initial_state=True)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight_ih_l0": (12, 3),
        "weight_hh_l0": (12, 4),
        "bias_l0": (12,),
        "peephole_l0": (4,),
        "initial_hidden_l0": (4,),
        "initial_cell_l0": (4,),
    }
    assert (layer.rnn_type, layer.sequence, layer.looks, layer.squash) == ("coupled", "cell", True, "tanh")
    assert not layer.peephole_l0.any()
    for block in layer.weight_hh_l0.chunk(3):
        # Float32 rounding of a sum of four products.
        torch.testing.assert_close(block @ block.T, torch.eye(4), rtol=0, atol=1e-5)
    blind = nn.ConvRNN(3, 4, 5, rnn_type=COUPLED, looks=False, squash="none")
    assert list(blind.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "bias_l0"]
    assert repr(blind) == (
        "ConvRNN(3, 4, kernel_size=5, stride=1, rnn_type='coupled', sequence='cell', reduce='last', "
        "looks=False, squash='none')"
    )
    assert repr(nn.ConvRNN(3, 4, 5, rnn_type=MGU)).endswith("rnn_type='mgu', sequence='hidden', reduce='last')")


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])  # noqa: S301
@pytest.mark.parametrize("make", [LAYERS["coupled"], lambda: nn.CLSTM(FEATURES, 4, 3, 2)])
def test_a_layer_with_its_record_can_be_copied_and_pickled(make, copied):
    layer = randomised(make)
    x, lengths = draw_batch(FEATURES)
    assert torch.equal(copied(layer)(x, lengths), layer(x, lengths))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: nn.ConvRNN(3, 4, 5, rnn_type=MGU, sequence="cell"), ValueError, "rnn_type 'mgu' has no cell states"),
        (lambda: nn.ConvRNN(3, 4, 5, rnn_type=MGU, peepholes=True), ValueError, "rnn_type is 'mgu'; only 'lstm' has"),
        (lambda: nn.ConvRNN(3, 4, 5, rnn_type=MGU, squash="none"), TypeError, "unexpected keyword argument 'squash'"),
        (
            lambda: nn.ConvRNN(3, 4, 5, rnn_type=COUPLED, squash="relu"),
            ValueError,
            "squash is 'relu'; .*'tanh', 'none'",
        ),
        (lambda: nn.ConvRNN(3, 4, 5, rnn_type=MGU).to_torch(), ValueError, "rnn_type is 'mgu', which PyTorch does not"),
    ],
)
def test_options_that_a_record_does_not_have_are_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"step": None},
            r"step of cell 'mgu', called as step\(wx, h, W_h\) .* fails: 'NoneType' object is not callable",
        ),
        ({"step": lambda wx, h: wx + h}, r"fails: .* takes 2 positional arguments but 3 were given"),
        ({"gates": ("f", "n", "o")}, r"for gates \('f', 'n', 'o'\), fails: The size of tensor a"),
        ({"step": reference.rnn_step}, r"must return h of shape \[2, 3, 4\] .*, but returned \[2, 3, 8\]"),
        ({"step": reference.lstm_step, "gates": tuple("ifgo")}, r"step\(wx, h, W_h\) .* fails: .* missing 1 required"),
        ({"step": lambda wx, h, W_h: mgu_step(wx, h, W_h).tolist()}, "must return h .* but returned list"),
        ({"step": lambda wx, h, W_h: mgu_step(wx, h[None], W_h)}, r"but returned \[1, 2, 3, 4\]"),
        (
            {"cell_states": True},
            r"step\(wx, h, c, W_h\) .* fails: mgu_step\(\) takes 3 positional arguments but 4 were",
        ),
        (
            {"cell_states": True, "step": lambda wx, h, c, W_h: mgu_step(wx, h + c, W_h)},
            r"must return \(h, c\), each of shape \[2, 3, 4\] .*, but returned \[2, 3, 4\]$",
        ),
        (
            {"step": lambda wx, h, W_h: (mgu_step(wx, h, W_h), h)},
            r"must return h of shape .*, but returned \[2, 3, 4\] and \[4\]",
        ),
        ({"tensors": (CellTensor("peephole", ("hidden",)),)}, r"step\(wx, h, W_h, peephole=...\) .* keyword argument"),
    ],
)
def test_a_wrong_step_is_refused_with_the_record(changes, sentence):
    with pytest.raises(ValueError, match=sentence) as refused:
        dataclasses.replace(MGU, **changes)
    assert "\n" not in str(refused.value)


COMBINATIONS = [
    (cell, dict(zip((o.name for o in cell.options), values, strict=True)), sequence)
    for cell in CELLS.values()
    if cell.operation is not None
    for values in itertools.product(*(option.allowed for option in cell.options))
    for sequence in (("hidden", "cell") if cell.cell_states else ("hidden",))
]


def named(value):
    return getattr(value, "name", str(value))


@pytest.mark.parametrize(("cell", "options", "sequence"), COMBINATIONS, ids=named)
@pytest.mark.parametrize(("reduce", "reverse"), [("last", False), ("mean", True), ("max", False), ("none", True)])
def test_a_records_step_equals_its_operation(cell, options, sequence, reduce, reverse):
    assert cell.operation is WINDOWED[cell.name]
    tensors = draw(cell.name)
    shapes = cell.shapes(FEATURES, 4, learn_initial_state=True, options=options)
    assert {name: tuple(tensors[name].shape) for name in shapes} == shapes
    assert set(cell.tensor_names) >= set(shapes)
    tensors = {name: tensors[name] if name in ("x", *shapes) else None for name in ("x", *cell.tensor_names)}
    window = {"kernel_size": 3, "stride": 2, "reduce": reduce, "reverse": reverse, "lengths": torch.tensor([7, 4])}

    def run(which):
        def call(x, **parameters):
            return which.over_windows(x, parameters, options, sequence=sequence, **window)

        with ops.use_backend("reference"):
            return values_and_gradients(call, tensors, dtype=torch.float64)

    assert same(run(cell), run(dataclasses.replace(cell, operation=None)))


NAMED = {"CRNN": "rnn", "CGRU": "gru", "CLSTM": "lstm", "ExtendedCLSTM": "lstm", "CBLSTM": "lstm"}
DECIDED = {"ExtendedCLSTM": {"position_weights": True}, "CBLSTM": {"bidirectional": True, "projection": True}}


@pytest.mark.parametrize(("name", "rnn_type"), NAMED.items())
def test_named_layers_have_their_records_options(name, rnn_type):
    layer, cell = getattr(nn, name), CELLS[rnn_type]
    parameters = inspect.signature(layer).parameters
    every = inspect.signature(nn.ConvRNN).parameters
    own = {option.name: option for option in cell.options}
    assert set(own) <= set(parameters) <= {*every, *own} - {"rnn_type", "cell_options"}
    documentation = " ".join(inspect.getdoc(layer).split())
    for argument, parameter in parameters.items():
        if argument == "sequence":
            assert parameter.default == ("cell" if cell.cell_states else "hidden")
        elif argument in own:
            allowed = own[argument].allowed
            assert parameter.default == own[argument].default
            assert (get_args(parameter.annotation) or (False, True)) == allowed
            assert f"{argument}: {own[argument].doc}" in documentation
        else:
            assert parameter.default == every[argument].default
    made = layer(3, 4, 5)
    assert (made.cell, made.rnn_type) == (cell, rnn_type)
    decisions = ("bidirectional", "projection", "position_weights")
    decided = {n: getattr(made, n) for n in decisions if n not in parameters}
    assert decided == DECIDED.get(name, {})
    x, _ = draw_batch(3)
    torch.manual_seed(0)
    same_layer = nn.ConvRNN(3, 4, 5, rnn_type=rnn_type, **decided)
    torch.manual_seed(0)
    made = layer(3, 4, 5)
    assert all(map(torch.equal, gradients(made, x.float(), None), gradients(same_layer, x.float(), None)))


@pytest.mark.parametrize("name", NAMED)
def test_named_layers_pass_every_argument_on(name):
    other = {
        "sequence": "hidden",
        "reduce": "max",
        "projection": True,
        "hidden_size": 6,
        "num_layers": 2,
        "bidirectional": True,
        "position_weights": True,
        "learn_initial_state": True,
        "padding": "same",
        "bias": False,
        "peepholes": False,
        "nonlinearity": "relu",
        "reset_after": True,
        "stride": 3,
    }
    layer = getattr(nn, name)
    options = {n: value for n, value in other.items() if n in inspect.signature(layer).parameters}
    made = layer(3, 4, 5, **options, device="meta", dtype=torch.float64)
    assert {n: getattr(made, n) for n in options} == options
    assert made.weight_hh_l0.is_meta
    assert made.weight_hh_l0.dtype == torch.float64
    assert set(inspect.signature(layer).parameters) - {*options, "in_features", "out_features", "kernel_size"} == {
        "device",
        "dtype",
    }


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_config_accepts_what_a_record_allows(cell):
    window = {"out_features": 4, "kernel_size": 3, "rnn_type": cell.name}
    for option in cell.options:
        for value in option.allowed:
            config = ConvRNNConfig(**window, **{option.name: value})
            assert ConvRNNConfig.model_validate_json(config.model_dump_json()) == config
            layer = nn.ConvRNN(3, **config.model_dump(exclude={"kind"}))
            assert getattr(layer, option.name) == value
        with pytest.raises(ValidationError):
            ConvRNNConfig(**window, **{option.name: "another"})
    arguments = set(inspect.signature(nn.ConvRNN).parameters) | {o.name for c in CELLS.values() for o in c.options}
    assert set(ConvRNNConfig.model_fields) - {"kind"} <= arguments


def test_a_config_accepts_new_options_of_a_record_and_no_others(monkeypatch):
    window = {"out_features": 4, "kernel_size": 3}
    before = ConvRNNConfig(**window).model_dump_json()
    new = CellOption("squash", default="tanh", allowed=("tanh", "none"), doc="")
    changed = dataclasses.replace(CELLS["lstm"], options=(*CELLS["lstm"].options, new))
    monkeypatch.setitem(CELLS, "lstm", changed)
    # Hashes of runs without it do not change.
    assert ConvRNNConfig(**window).model_dump_json() == before
    config = ConvRNNConfig(**window, squash="none")
    assert ConvRNNConfig.model_validate_json(config.model_dump_json()) == config != ConvRNNConfig(**window)
    assert config.model_dump()["squash"] == "none"
    for options, sentence in (
        ({"squash": "relu"}, "squash is 'relu'; it must be one of 'tanh', 'none'"),
        ({"rnn_type": "gru", "squash": "none"}, "squash is not an option of rnn_type 'gru'"),
        ({"squish": True}, "squish is not an option of rnn_type 'lstm'"),
        ({"rnn_type": "LSTM"}, "Input should be 'rnn', 'gru'"),
    ):
        with pytest.raises(ValidationError, match=sentence):
            ConvRNNConfig(**window, **options)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_every_cell_is_a_preset(cell):
    assert f"c{cell.name}" in FRONT_ENDS
    config = preset(f"c{cell.name}", "emotion", in_features=26, num_classes=2)
    layer = SequenceClassifier(config).front_end[0]
    assert layer.cell is cell
    assert layer.sequence == ("cell" if cell.cell_states else "hidden")


def test_the_generic_recurrence_checks_its_operands():
    x, weight_ih, weight_hh = torch.zeros(1, 5, 3), torch.zeros(8, 3), torch.zeros(8, 4)
    for changes, sentence in (
        ({"kernel_size": 6}, "kernel_size is 6, longer than x with its 5 frames"),
        ({"gates": 3}, r"weight_hh must be \[3 \* hidden, hidden\]"),
        ({"reduce": "sum"}, "reduce is 'sum'"),
        ({"weight_ih": weight_ih.double()}, "weight_ih is torch.float64, but x is torch.float32"),
    ):
        arguments = {"x": x, "weight_ih": weight_ih, "weight_hh": weight_hh, "bias": None, "gates": 2} | changes
        with pytest.raises(ValueError, match=sentence):
            reference.windowed(mgu_step, **{"kernel_size": 3} | arguments)
