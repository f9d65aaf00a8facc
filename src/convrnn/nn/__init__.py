"""The layers: convolutional recurrent layers, standard convolution, pooling, whole sequences and readout."""

from convrnn.nn.cells import Cell
from convrnn.nn.conv import ConvFeatures, MaxPool
from convrnn.nn.conv_rnn import ConvRNN
from convrnn.nn.layers import CBLSTM, CGRU, CLSTM, CRNN, ExtendedCLSTM
from convrnn.nn.readout import MeanSoftmax
from convrnn.nn.recurrent import GRU, LSTM, RNN

__all__ = [
    "CBLSTM",
    "CGRU",
    "CLSTM",
    "CRNN",
    "GRU",
    "LSTM",
    "RNN",
    "Cell",
    "ConvFeatures",
    "ConvRNN",
    "ExtendedCLSTM",
    "MaxPool",
    "MeanSoftmax",
]
