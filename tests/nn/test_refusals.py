"""Invalid arguments are refused at once, in a sentence that names the argument."""

import inspect

import pytest
import torch

from convrnn import nn


def conv_rnn(rnn_type, **options):
    return nn.ConvRNN(3, 4, 3, rnn_type=rnn_type, **options)


CONSTRUCTIONS = [
    (lambda: nn.CLSTM(0, 4, 3), "in_features is 0; it must be a whole number of at least 1"),
    (lambda: nn.CLSTM(3, -4, 3), "out_features is -4"),
    (lambda: nn.CLSTM(3, 4, 0), "kernel_size is 0"),
    (lambda: nn.CLSTM(3, 4, 2.5), r"kernel_size is 2\.5"),
    (lambda: nn.CLSTM(3, 4, 3, True), "stride is True"),
    (lambda: nn.CLSTM(3, 4, 3, num_layers=0), "num_layers is 0"),
    (lambda: nn.CLSTM(3, 4, 3, projection=True, hidden_size=0), "hidden_size is 0"),
    (lambda: nn.ConvRNN(3, 4, 3, rnn_type="LSTM"), "rnn_type is 'LSTM'; it must be one of 'rnn', 'gru', 'lstm'"),
    (lambda: nn.CLSTM(3, 4, 3, reduce="none"), "reduce is 'none'; it must be one of 'last', 'mean', 'max'"),
    (lambda: nn.CLSTM(3, 4, 3, padding="causal"), "padding is 'causal'; it must be one of 'valid', 'same'"),
    (lambda: nn.CLSTM(3, 4, 3, sequence="output"), "sequence is 'output'"),
    (lambda: nn.CRNN(3, 4, 3, nonlinearity="elu"), "nonlinearity is 'elu'"),
    (lambda: nn.CRNN(3, 4, 3, sequence="cell"), "sequence is 'cell', but rnn_type 'rnn' has no cell states"),
    (lambda: nn.CGRU(3, 4, 3, sequence="cell"), "sequence is 'cell', but rnn_type 'gru' has no cell states"),
    (lambda: conv_rnn("rnn", peepholes=True), "peepholes is True, but rnn_type is 'rnn'; only 'lstm' has it"),
    (lambda: conv_rnn("gru", peepholes=True), "peepholes is True, but rnn_type is 'gru'"),
    (lambda: conv_rnn("gru", nonlinearity="tanh"), "nonlinearity is 'tanh', but rnn_type is 'gru'; only 'rnn'"),
    (lambda: conv_rnn("lstm", nonlinearity="relu"), "nonlinearity is 'relu', but rnn_type is 'lstm'"),
    (lambda: conv_rnn("lstm", reset_after=True), "reset_after is True, but rnn_type is 'lstm'; only 'gru' has it"),
    (lambda: conv_rnn("rnn", reset_after=True), "reset_after is True, but rnn_type is 'rnn'"),
    (lambda: nn.CLSTM(3, 4, 3, peepholes="no"), "peepholes is 'no'; it must be one of False, True"),
    (lambda: nn.CLSTM(3, 5, 3, bidirectional=True), "out_features is 5; two directions .* need an even number"),
    (lambda: nn.CLSTM(3, 4, 3, hidden_size=5), "hidden_size is 5, .* it must be 4, .* projection=True allows any"),
    (lambda: nn.CLSTM(3, 4, 3, bidirectional=True, hidden_size=4), "hidden_size is 4, .* it must be 2"),
    (lambda: nn.ConvFeatures(3, 0, 3), "out_features is 0"),
    (lambda: nn.ConvFeatures(3, 4, 3, 0), "stride is 0"),
    (lambda: nn.ConvFeatures(3, 4, 3, nonlinearity="gelu"), "nonlinearity is 'gelu'"),
    (lambda: nn.ConvFeatures(3, 4, 3, padding="full"), "padding is 'full'"),
    (lambda: nn.MaxPool(0), "kernel_size is 0"),
    (lambda: nn.MaxPool(2, 0), "stride is 0"),
    (lambda: nn.LSTM(3, 0), "hidden_size is 0"),
    (lambda: nn.LSTM("3", 4), "input_size is '3'"),
    (lambda: nn.LSTM(3, 4, peepholes="no"), "peepholes is 'no'; it must be one of False, True"),
    (lambda: nn.GRU(3, 4, reset_after="after"), "reset_after is 'after'; it must be one of False, True"),
    (lambda: nn.RNN(3, 4, nonlinearity="elu"), "nonlinearity is 'elu'; it must be one of 'tanh', 'sigmoid', 'relu'"),
    (lambda: nn.MeanSoftmax(0), "last is 0"),
]


@pytest.mark.parametrize(("construct", "sentence"), CONSTRUCTIONS, ids=[row[1][:40] for row in CONSTRUCTIONS])
def test_layers_refuse_invalid_options(construct, sentence):
    with pytest.raises(ValueError, match=sentence):
        construct()


def test_options_may_repeat_the_default():
    assert not hasattr(conv_rnn("gru", peepholes=False), "peepholes")
    assert not hasattr(conv_rnn("rnn", reset_after=False), "reset_after")
    assert conv_rnn("lstm", peepholes=None, nonlinearity=None, reset_after=None).peepholes


FORWARD_LAYERS = {
    "convrnn": nn.CLSTM(3, 4, 5),
    "conv": nn.ConvFeatures(3, 4, 5),
    "pool": nn.MaxPool(5),
    "lstm": nn.LSTM(3, 4),
    "gru": nn.GRU(3, 4),
    "rnn": nn.RNN(3, 4),
}
WITH_FEATURES = tuple(name for name in FORWARD_LAYERS if name != "pool")
INPUTS = [
    (tuple(FORWARD_LAYERS), ([[1.0]],), "x must be a torch.Tensor, but is a list"),
    (tuple(FORWARD_LAYERS), (torch.zeros(2, 9, 3), [9, 9]), "lengths must be an int64 tensor, but is a list"),
    (WITH_FEATURES, (torch.zeros(2, 9, 4),), r"x must be .* 3 features .* shape \[2, 9, 4\]"),
    (WITH_FEATURES, (torch.zeros(9, 3),), r"x must be \[batch, frames, \*feature_shape\]"),
    (("pool",), (torch.zeros(9, 3),), r"x must be \[batch, frames, features\], but has shape \[9, 3\]"),
    (WITH_FEATURES, (torch.zeros(2, 9, 3).double(),), "x is torch.float64, but .* torch.float32"),
    (WITH_FEATURES, (torch.zeros(2, 9, 3).long(),), "x is torch.int64, but .* torch.float32"),
    (("convrnn", "conv", "pool"), (torch.zeros(2, 4, 3),), "kernel_size is 5, longer than x with its 4 frames"),
    (tuple(FORWARD_LAYERS), (torch.zeros(2, 9, 3), torch.tensor([9])), r"lengths must be int64 with shape \[2\]"),
    (tuple(FORWARD_LAYERS), (torch.zeros(2, 9, 3), torch.tensor([9.0, 9.0])), "lengths must be int64.*float32"),
    (tuple(FORWARD_LAYERS), (torch.zeros(2, 9, 3), torch.tensor([9, 10])), r"between 0 and 9.*lengths\[1\] is 10"),
    (tuple(FORWARD_LAYERS), (torch.zeros(2, 9, 3), torch.tensor([-1, 9])), r"between 0 and 9.*lengths\[0\] is -1"),
]


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [(name, arguments, sentence) for names, arguments, sentence in INPUTS for name in names],
)
def test_layers_refuse_invalid_input(name, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        FORWARD_LAYERS[name](*arguments)


@pytest.mark.parametrize("name", ["convrnn", "conv"])
def test_same_padding_needs_a_frame(name):
    layer = {"convrnn": nn.CLSTM, "conv": nn.ConvFeatures}[name](3, 4, 5, padding="same")
    assert layer(torch.zeros(2, 1, 3)).shape == (2, 1, 4)
    with pytest.raises(ValueError, match="x must have at least one frame, but has none"):
        layer(torch.zeros(2, 0, 3))


@pytest.mark.parametrize(
    ("layer", "option"),
    [
        # Options that no layer has, that the layer's name decides, and that only other cells have.
        (nn.ConvRNN, {"bidirectonal": True}),
        (nn.CBLSTM, {"bidirectonal": True}),
        (nn.CBLSTM, {"projection": False}),
        (nn.ExtendedCLSTM, {"position_weights": True}),
        (nn.CGRU, {"rnn_type": "lstm"}),
        (nn.CRNN, {"peepholes": True}),
        (nn.CGRU, {"peepholes": True}),
        (nn.CGRU, {"nonlinearity": "tanh"}),
        (nn.CLSTM, {"nonlinearity": "relu"}),
        (nn.CLSTM, {"reset_after": True}),
        (nn.CRNN, {"reset_after": True}),
    ],
    ids=str,
)
def test_an_error_about_an_option_names_the_layer(layer, option):
    [name] = option
    with pytest.raises(TypeError, match=f"^{layer.__name__}.* got an unexpected keyword argument '{name}'"):
        layer(3, 4, 5, **option)


def test_help_shows_the_options_of_a_layer():
    every = set(inspect.signature(nn.ConvRNN).parameters) - {"rnn_type", "cell_options"}
    assert set(inspect.signature(nn.CLSTM).parameters) == every | {"peepholes"}
    assert set(inspect.signature(nn.CRNN).parameters) == every | {"nonlinearity"}
    assert set(inspect.signature(nn.CGRU).parameters) == every | {"reset_after"}
    assert set(inspect.signature(nn.ExtendedCLSTM).parameters) == every - {"position_weights"} | {"peepholes"}
    assert set(inspect.signature(nn.CBLSTM).parameters) == every - {"bidirectional", "projection"} | {"peepholes"}

    class Mine(nn.CLSTM):
        def __init__(self, width):
            super().__init__(width, width, 5)

    assert list(inspect.signature(Mine.__init__).parameters) == ["self", "width"]
