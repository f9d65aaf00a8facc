"""Weights converted from PyTorch's modules and back give the module's own numbers, on every window."""

import pytest
import torch
from torch import nn

from convrnn.nn import CBLSTM, CGRU, CLSTM, CRNN, GRU, LSTM, RNN, ConvRNN, ExtendedCLSTM

MODULES = [nn.LSTM, nn.GRU, nn.RNN, lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k)]


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_from_torch_runs_the_module_on_every_window(make, num_layers, bidirectional, bias):
    module = make(3, 4, num_layers, bidirectional=bidirectional, bias=bias, batch_first=True).double()
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    windows = x.unfold(1, 5, 2).transpose(2, 3)  # [batch, windows, 5, 3]
    states = module(windows.reshape(-1, 5, 3))[0].view(2, 3, 5, -1)

    layer = ConvRNN.from_torch(module, kernel_size=5, stride=2)
    final = torch.cat([states[:, :, -1, :4], states[:, :, 0, 4:]], dim=-1)
    torch.testing.assert_close(layer(x), final)
    torch.testing.assert_close(ConvRNN.from_torch(module, 5, 2, reduce="max")(x), states.amax(2))
    torch.testing.assert_close(ConvRNN.from_torch(module, 5, 2, reduce="mean")(x), states.mean(2))

    again = layer.to_torch()
    torch.testing.assert_close(again(windows[0])[0], module(windows[0])[0])


WHOLE = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_layers_over_whole_sequences_convert_both_ways(make, bidirectional, bias):
    module = make(3, 4, bidirectional=bidirectional, bias=bias, batch_first=True).double()
    x = torch.randn(2, 9, 3, dtype=torch.float64)
    layer = WHOLE[type(module)].from_torch(module)
    torch.testing.assert_close(layer(x), module(x)[0])
    torch.testing.assert_close(layer.to_torch()(x)[0], module(x)[0])


@pytest.mark.parametrize("make", MODULES)
def test_layers_over_whole_sequences_agree_with_packed_sequences(make):
    module = make(3, 4, bidirectional=True, batch_first=True)
    x, lengths = torch.randn(3, 9, 3), torch.tensor([9, 2, 5])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True)
    torch.testing.assert_close(WHOLE[type(module)].from_torch(module)(x, lengths), expected)


def test_converted_weights_are_copies():
    module = nn.LSTM(3, 4)
    layer = CLSTM.from_torch(module, 2)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    assert module.weight_hh_l0.any()


def test_a_converted_lstm_can_return_cell_states():
    module = nn.LSTM(3, 4, batch_first=True)
    window = torch.randn(1, 5, 3)
    layer = CLSTM.from_torch(module, kernel_size=5, sequence="cell")
    torch.testing.assert_close(layer(window)[0], module(window)[1][1][0])


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ConvRNN.from_torch(nn.Linear(3, 4), 5), "Linear"),
        (lambda: ConvRNN.from_torch(nn.LSTM(3, 4, proj_size=2), 5), "proj_size=2"),
        (lambda: ConvRNN.from_torch(nn.LSTM(3, 4), 5, peepholes=True), "peepholes is fixed"),
        (lambda: CGRU.from_torch(nn.LSTM(3, 4), 5), "CGRU has rnn_type='gru'"),
        (lambda: CBLSTM.from_torch(nn.LSTM(3, 4, bidirectional=True), 5), "CBLSTM has projection=True"),
        (lambda: CBLSTM.from_torch(nn.LSTM(3, 4), 5), "CBLSTM has bidirectional=True"),
        (lambda: ExtendedCLSTM.from_torch(nn.LSTM(3, 4), 5), "ExtendedCLSTM has position_weights=True"),
        (lambda: LSTM.from_torch(nn.GRU(3, 4)), "module is a GRU; it must be a torch.nn.LSTM"),
        (lambda: GRU.from_torch(nn.RNN(3, 4)), "module is a RNN; it must be a torch.nn.GRU"),
        (lambda: LSTM.from_torch(nn.LSTM(3, 4, num_layers=2)), "num_layers=2"),
        (lambda: CBLSTM(3, 4, 5).to_torch(), "projection is True"),
        (lambda: ExtendedCLSTM(3, 4, 5).to_torch(), "position_weights is True"),
        (lambda: CGRU(3, 4, 5).to_torch(), "reset_after is False"),
        (lambda: CRNN(3, 4, 5, nonlinearity="sigmoid").to_torch(), "nonlinearity is 'sigmoid'"),
        (lambda: GRU(3, 4).to_torch(), "reset_after is False"),
        (lambda: RNN(3, 4, nonlinearity="sigmoid").to_torch(), "nonlinearity is 'sigmoid'"),
    ],
)
def test_modules_that_cannot_be_converted_are_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize("name", ["weight_peephole_l0", "initial_hidden_l0", "initial_cell_l0"])
@pytest.mark.parametrize("layer", [CLSTM(3, 4, 5, learn_initial_state=True), LSTM(3, 4, learn_initial_state=True)])
def test_options_that_pytorch_lacks_are_refused(layer, name):
    assert isinstance(layer.to_torch(), nn.LSTM)
    with torch.no_grad():
        getattr(layer, name).fill_(0.1)
    with pytest.raises(ValueError, match=name):
        layer.to_torch()
    with torch.no_grad():
        getattr(layer, name).zero_()
