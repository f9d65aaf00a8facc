"""The layers: convolutional recurrent layers, standard convolution, pooling, whole-sequence LSTM and readout."""

from convrnn.nn.cells import Cell
from convrnn.nn.conv import ConvFeatures, MaxPool
from convrnn.nn.conv_rnn import ConvRNN
from convrnn.nn.layers import CBLSTM, CGRU, CLSTM, CRNN, ExtendedCLSTM
from convrnn.nn.lstm import LSTM
from convrnn.nn.readout import MeanSoftmax

__all__ = [
    "CBLSTM",
    "CGRU",
    "CLSTM",
    "CRNN",
    "LSTM",
    "Cell",
    "ConvFeatures",
    "ConvRNN",
    "ExtendedCLSTM",
    "MaxPool",
    "MeanSoftmax",
]
