"""The layers: convolutional recurrent ones, the standard convolution, pooling, the whole-sequence LSTM, readouts."""

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
    "ConvFeatures",
    "ConvRNN",
    "ExtendedCLSTM",
    "MaxPool",
    "MeanSoftmax",
]
