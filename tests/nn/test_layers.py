"""Every layer: the contract, the equations, parameters and their initialisation."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import naive
from check_layer import check_layer, draw_batch, randomised
from convrnn import nn, ops

FEATURES = 3

LAYERS = {
    "crnn": lambda: nn.CRNN(FEATURES, 4, 3, 2, nonlinearity="sigmoid", learn_initial_state=True),
    "cgru": lambda: nn.CGRU(FEATURES, 4, 3, 2, reduce="mean", bidirectional=True),
    "clstm": lambda: nn.CLSTM(FEATURES, 4, 3, 2, learn_initial_state=True),
    "clstm-same": lambda: nn.CLSTM(FEATURES, 4, 3, 2, padding="same", sequence="hidden", reduce="max"),
    "extended-clstm": lambda: nn.ExtendedCLSTM(FEATURES, 4, 3, 2, reduce="max"),
    "cblstm": lambda: nn.CBLSTM(FEATURES, 4, 3, 2, reduce="max"),
    "conv": lambda: nn.ConvFeatures(FEATURES, 4, 3, 2, nonlinearity="tanh"),
    "conv-same": lambda: nn.ConvFeatures(FEATURES, 4, 3, 2, padding="same", nonlinearity="sigmoid"),
    "max-pool": lambda: nn.MaxPool(3, 2),
    "lstm": lambda: nn.LSTM(FEATURES, 4, learn_initial_state=True),
    "blstm": lambda: nn.LSTM(FEATURES, 4, bidirectional=True, peepholes=False),
    "rnn": lambda: nn.RNN(FEATURES, 4, nonlinearity="sigmoid", learn_initial_state=True),
    "gru": lambda: nn.GRU(FEATURES, 4, learn_initial_state=True),
    "bgru": lambda: nn.GRU(FEATURES, 4, bidirectional=True, reset_after=True),
}
WHOLE = ("lstm", "blstm", "rnn", "gru", "bgru")


@pytest.mark.parametrize("name", LAYERS)
def test_contract(name):
    check_layer(LAYERS[name], FEATURES)


def test_the_readout_keeps_the_contract():
    for last in (None, 4):
        check_layer(lambda last=last: nn.MeanSoftmax(last), FEATURES, over_time=False, compiles=last is not None)


@st.composite
def conv_rnns(draw):
    """All valid combinations of options."""
    rnn_type = draw(st.sampled_from(["rnn", "gru", "lstm"]))
    projection = draw(st.booleans())
    bidirectional = draw(st.booleans())
    own = {
        "rnn": {"nonlinearity": st.sampled_from(["tanh", "sigmoid", "relu"])},
        "gru": {"reset_after": st.booleans()},
        "lstm": {"peepholes": st.booleans(), "sequence": st.sampled_from(["hidden", "cell"])},
    }[rnn_type]
    options = {name: draw(strategy) for name, strategy in own.items()}
    return nn.ConvRNN(
        draw(st.integers(1, 3)),
        2 if bidirectional else draw(st.integers(1, 3)),
        draw(st.integers(1, 5)),
        draw(st.integers(1, 4)),
        rnn_type=rnn_type,
        reduce=draw(st.sampled_from(["last", "mean", "max"])),
        projection=projection,
        hidden_size=draw(st.integers(1, 3)) if projection else None,
        num_layers=draw(st.integers(1, 2)),
        bidirectional=bidirectional,
        position_weights=draw(st.booleans()),
        learn_initial_state=draw(st.booleans()),
        padding=draw(st.sampled_from(["valid", "same"])),
        bias=draw(st.booleans()),
        dtype=torch.float64,
        **options,
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(conv_rnns(), st.lists(st.integers(0, 9), min_size=1, max_size=3), st.integers(0, 2), st.integers(0, 99))
def test_conv_rnn_computes_the_equations_in_every_window(layer, lengths, beyond, seed):
    frames = max(1, *lengths) + beyond
    assume(layer.padding == "same" or frames >= layer.kernel_size)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(len(lengths), frames, layer.in_features, generator=generator, dtype=torch.float64)
    expected = torch.from_numpy(naive.conv_rnn(layer, x, lengths))
    # float64: rounding only, of up to two layers of five steps.
    torch.testing.assert_close(layer(x, torch.tensor(lengths)), expected, rtol=1e-11, atol=1e-11)
    without_lengths = torch.from_numpy(naive.conv_rnn(layer, x, [frames] * len(lengths)))
    torch.testing.assert_close(layer(x), without_lengths, rtol=1e-11, atol=1e-11)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 12), st.sampled_from(["valid", "same"]), st.booleans())
def test_conv_features_is_equation_f(kernel_size, stride, frames, padding, bias):
    assume(padding == "same" or frames >= kernel_size)
    layer = randomised(lambda: nn.ConvFeatures(FEATURES, 4, kernel_size, stride, padding=padding, bias=bias))
    layer.requires_grad_(False)
    x, _ = draw_batch(FEATURES)
    x = torch.cat([x, x], dim=1)[:1, :frames]
    b = layer.bias if bias else torch.zeros(4)
    windows = naive.windows(x[0].numpy(), kernel_size, stride, padding)
    # W_k of the equation is weight[k], transposed to the window's frames by features.
    expected = [
        [max(float((layer.weight[k].T * torch.from_numpy(w)).sum() + b[k]), 0.0) for k in range(4)] for w in windows
    ]
    torch.testing.assert_close(layer(x)[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(4, 12))
def test_max_pool_is_the_maximum_of_every_window(kernel_size, stride, frames):
    x = draw_batch(FEATURES)[0].repeat(1, 2, 1)[:1, :frames]
    windows = naive.windows(x[0].numpy(), kernel_size, stride)
    assert nn.MaxPool(kernel_size, stride)(x)[0].tolist() == [w.max(axis=0).tolist() for w in windows]


def test_the_stride_of_max_pool_defaults_to_its_kernel_size():
    assert nn.MaxPool(3).stride == 3


def test_cblstm_agrees_with_equation_9_by_hand():
    layer = randomised(lambda: nn.CBLSTM(2, 3, 5, reduce="max"))
    window = draw_batch(2)[0][:1, :5]
    cells = []
    for suffix in ("", "_reverse"):
        p = {
            name: getattr(layer, f"{name}_l0{suffix}").detach().numpy()
            for name in ("weight_ih", "weight_hh", "bias", "weight_peephole")
        }
        cells.append(torch.from_numpy(naive.states("lstm", window[0].numpy(), p, reverse=suffix != "")[1]))
    y = torch.stack(
        [layer.weight_ho @ cells[0][t] + layer.weight_ho_reverse @ cells[1][t] + layer.bias_o for t in range(5)]
    )
    torch.testing.assert_close(layer(window)[0, 0], y.amax(0), rtol=1e-12, atol=1e-12)
    layer.reduce = "last"
    torch.testing.assert_close(layer(window)[0, 0], y[4], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_sequences_follow_the_equations_with_the_backward_direction_last(name):
    layer = randomised(LAYERS[name])
    x, lengths = draw_batch(FEATURES)
    y = layer(x, lengths)
    parameters = {key: value.detach().numpy() for key, value in layer.named_parameters()}
    options = {option: getattr(layer, option) for option in ("nonlinearity", "reset_after") if hasattr(layer, option)}
    for row, length in enumerate(lengths):
        expected = []
        for suffix in ("_l0", "_l0_reverse") if layer.bidirectional else ("_l0",):
            p = {key.removesuffix(suffix): value for key, value in parameters.items() if key.endswith(suffix)}
            frames = x[row, :length].numpy()
            hidden, _ = naive.states(layer.cell.name, frames, p, reverse=suffix != "_l0", **options)
            expected.append(torch.from_numpy(hidden))
        torch.testing.assert_close(y[row, :length], torch.cat(expected, dim=-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_extended_clstm_applies_each_frames_own_matrix(bidirectional):
    layer = randomised(lambda: nn.ExtendedCLSTM(2, 4, 4, bidirectional=bidirectional, reduce="mean"))
    plain = nn.CLSTM(2, 4, 4, bidirectional=bidirectional, reduce="mean", dtype=torch.float64)
    x = draw_batch(2)[0][:, :4]
    with torch.no_grad():
        # W_t P x_t = (W_t P) x_t: transforming the frame at t equals transforming the matrix for t.
        turns = torch.linalg.qr(torch.randn(4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[
            0
        ]
        turned = torch.einsum("tij,btj->bti", turns, x)
        y = layer(turned)
        state = layer.state_dict()
        for name in state:
            if name.startswith("weight_ih"):
                state[name] = torch.einsum("tgi,tij->tgj", state[name], turns)
        layer.load_state_dict(state)
        torch.testing.assert_close(layer(x), y, rtol=1e-12, atol=1e-12)
        # With the same matrix everywhere it equals a CLSTM; with different ones it does not.
        assert not torch.allclose(layer(x), layer(x.flip(1)))
        for name in state:
            if name.startswith("weight_ih"):
                state[name] = state[name][:1].expand(4, -1, -1).clone()
        layer.load_state_dict(state)
        plain.load_state_dict({n: v[0] if n.startswith("weight_ih") else v for n, v in state.items()})
        torch.testing.assert_close(layer(x), plain(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "max-pool"])
def test_frames_with_more_axes_are_flattened(name):
    layer = randomised(LAYERS[name])
    x, lengths = draw_batch(FEATURES)
    assert torch.equal(layer(x.view(3, 11, 1, 3, 1), lengths), layer(x, lengths))


@pytest.mark.parametrize("kind", ["hidden", "cell"])
def test_learned_initial_states_are_used_and_learned(kind):
    torch.manual_seed(0)
    x, _ = draw_batch(FEATURES, torch.float32)
    for layer in (nn.CLSTM(FEATURES, 4, 3, learn_initial_state=True), nn.LSTM(FEATURES, 4, learn_initial_state=True)):
        state = layer.get_parameter(f"initial_{kind}_l0")
        before = layer(x)
        before.sum().backward()
        assert state.grad.all()
        with torch.no_grad():
            state += 1.0
        assert (layer(x) != before).any(-1).all()


SHAPES = [
    (nn.CRNN(3, 4, 5), {"weight_ih_l0": (4, 3), "weight_hh_l0": (4, 4), "bias_l0": (4,)}),
    (nn.CGRU(3, 4, 5), {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_l0": (12,)}),
    (
        nn.CGRU(3, 4, 5, reset_after=True, learn_initial_state=True),
        {
            "weight_ih_l0": (12, 3),
            "weight_hh_l0": (12, 4),
            "bias_l0": (12,),
            "bias_hn_l0": (4,),
            "initial_hidden_l0": (4,),
        },
    ),
    (
        nn.CLSTM(3, 4, 5),
        {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_l0": (16,), "weight_peephole_l0": (3, 4)},
    ),
    (nn.CLSTM(3, 4, 5, peepholes=False, bias=False), {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4)}),
    (
        nn.ExtendedCLSTM(3, 4, 5, num_layers=2, peepholes=False, bias=False),
        {"weight_ih_l0": (5, 16, 3), "weight_hh_l0": (16, 4), "weight_ih_l1": (16, 4), "weight_hh_l1": (16, 4)},
    ),
    (
        nn.CBLSTM(3, 4, 5, hidden_size=6, learn_initial_state=True),
        {
            "weight_ih_l0": (24, 3),
            "weight_hh_l0": (24, 6),
            "bias_l0": (24,),
            "weight_peephole_l0": (3, 6),
            "initial_hidden_l0": (6,),
            "initial_cell_l0": (6,),
            "weight_ih_l0_reverse": (24, 3),
            "weight_hh_l0_reverse": (24, 6),
            "bias_l0_reverse": (24,),
            "weight_peephole_l0_reverse": (3, 6),
            "initial_hidden_l0_reverse": (6,),
            "initial_cell_l0_reverse": (6,),
            "weight_ho": (4, 6),
            "weight_ho_reverse": (4, 6),
            "bias_o": (4,),
        },
    ),
    (
        nn.CGRU(3, 4, 5, bidirectional=True, num_layers=2, bias=False),
        {
            "weight_ih_l0": (6, 3),
            "weight_hh_l0": (6, 2),
            "weight_ih_l0_reverse": (6, 3),
            "weight_hh_l0_reverse": (6, 2),
            "weight_ih_l1": (6, 4),
            "weight_hh_l1": (6, 2),
            "weight_ih_l1_reverse": (6, 4),
            "weight_hh_l1_reverse": (6, 2),
        },
    ),
    (
        nn.CRNN(3, 4, 5, projection=True, hidden_size=7),
        {"weight_ih_l0": (7, 3), "weight_hh_l0": (7, 7), "bias_l0": (7,), "weight_ho": (4, 7), "bias_o": (4,)},
    ),
    (nn.ConvFeatures(3, 4, 5), {"weight": (4, 3, 5), "bias": (4,)}),
    (nn.MaxPool(2), {}),
    (nn.MeanSoftmax(), {}),
    (
        nn.LSTM(3, 4, bidirectional=True, peepholes=False),
        {
            "weight_ih_l0": (16, 3),
            "weight_hh_l0": (16, 4),
            "bias_l0": (16,),
            "weight_ih_l0_reverse": (16, 3),
            "weight_hh_l0_reverse": (16, 4),
            "bias_l0_reverse": (16,),
        },
    ),
    (
        nn.GRU(3, 4, reset_after=True),
        {"weight_ih_l0": (12, 3), "weight_hh_l0": (12, 4), "bias_l0": (12,), "bias_hn_l0": (4,)},
    ),
    (
        nn.RNN(3, 4, bias=False, learn_initial_state=True),
        {"weight_ih_l0": (4, 3), "weight_hh_l0": (4, 4), "initial_hidden_l0": (4,)},
    ),
    (
        nn.LSTM(3, 4, learn_initial_state=True),
        {
            "weight_ih_l0": (16, 3),
            "weight_hh_l0": (16, 4),
            "bias_l0": (16,),
            "weight_peephole_l0": (3, 4),
            "initial_hidden_l0": (4,),
            "initial_cell_l0": (4,),
        },
    ),
]


@pytest.mark.parametrize(("layer", "shapes"), SHAPES, ids=lambda value: str(value)[:60])
def test_parameters_have_the_contracts_names_and_shapes(layer, shapes):
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == shapes
    assert all(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("layer", "gates"),
    [
        (nn.CRNN(9, 8, 3), 1),
        (nn.CGRU(9, 8, 3, reset_after=True, learn_initial_state=True), 3),
        (nn.ExtendedCLSTM(9, 8, 3, learn_initial_state=True), 4),
        (nn.CBLSTM(9, 8, 3), 4),
        (nn.LSTM(9, 8, bidirectional=True, learn_initial_state=True), 4),
        (nn.GRU(9, 8, learn_initial_state=True), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_initialisation(layer, gates):
    torch.manual_seed(0)
    layer.reset_parameters()
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_hh"):
            for block in parameter.chunk(gates):
                # Float32 rounding of a sum of eight products.
                torch.testing.assert_close(block @ block.T, torch.eye(8), rtol=0, atol=1e-5)
            assert not torch.allclose(parameter[:8], parameter[-8:]) or gates == 1
        elif name.startswith(("weight_ih", "weight_ho")):
            fan_in = parameter.size(-1)
            bound = (6 / (fan_in + 8)) ** 0.5
            blocks = parameter.reshape(-1, 8, fan_in)
            assert parameter.abs().max() <= bound
            # 64 values or more in a block: that all stay below three quarters has probability 1e-8.
            assert (blocks.abs().amax((1, 2)) > 0.75 * bound).all()
        else:
            assert not parameter.any(), name


def test_the_standard_convolution_starts_with_glorot_weights():
    torch.manual_seed(0)
    layer = nn.ConvFeatures(26, 100, 5)
    bound = (6 / (26 * 5 + 100)) ** 0.5
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert not layer.bias.any()


def test_the_same_seed_draws_the_same_layer():
    def draw(dtype):
        torch.manual_seed(3)
        return nn.CLSTM(3, 4, 5, dtype=dtype).weight_hh_l0

    assert torch.equal(draw(torch.float32), draw(torch.float32))
    assert torch.equal(draw(torch.float64), draw(torch.float32).double())


def test_layers_on_the_meta_device_have_only_shapes():
    layer = nn.CBLSTM(3, 4, 5, device="meta")
    assert layer(torch.empty(2, 9, 3, device="meta")).shape == (2, 5, 4)


def test_printed_layers_show_options_that_differ_from_the_defaults():
    assert repr(nn.CLSTM(26, 100, 5, 2)) == "CLSTM(26, 100, kernel_size=5, stride=2, sequence='cell', reduce='last')"
    text = repr(nn.ConvRNN(3, 4, 5, rnn_type="gru", reset_after=True, projection=True, padding="same"))
    assert "rnn_type='gru'" in text
    assert text.endswith("projection=True, hidden_size=4, reset_after=True, padding='same')")


def test_layers_can_be_chained_with_their_lengths():
    """Features of windows, pooling and a sequence layer over them, connected by lengths."""
    x, lengths = draw_batch(FEATURES)
    layers = [randomised(LAYERS["clstm"]), nn.MaxPool(2), randomised(lambda: nn.LSTM(4, 2))]
    y, y_lengths = x, lengths
    for layer in layers:
        y = layer(y, y_lengths)
        y_lengths = layer.output_lengths(y_lengths) if hasattr(layer, "output_lengths") else y_lengths
    assert y_lengths.tolist() == [2, 1, 0]
    assert torch.equal((y != 0).any(-1), ops.geometry.frame_mask(y_lengths, 2))
