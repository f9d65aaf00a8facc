"""The whole classifier of section IV: front end, recurrent layer, dense layer, softmax, readout."""

import torch
from torch import Tensor, nn

from convrnn.models.config import SequenceClassifierConfig
from convrnn.models.front_end import FrontEnd
from convrnn.nn import LSTM, MeanSoftmax
from convrnn.nn.init import linear
from convrnn.ops import geometry


class SequenceClassifier(nn.Module):
    """Class log-probabilities of sequences of frames, the models of section IV.

    A front end of feature layers with pooling; an LSTM over its output; a dense layer of rectified linear units on the
    hidden states of every frame (for two directions this is equation 8); a softmax layer; the mean of the softmax
    outputs over the last or all frames.

    Args:
        config: The description of the model; :func:`convrnn.models.preset` gives the paper's.

    Shape:
        - Input: frames ``[batch, frames, in_features]`` and optionally ``lengths``, int64 ``[batch]``. A sequence
          shorter than ``shortest_input`` frames is padded with zeros to this length.
        - Output: log-probabilities ``[batch, num_classes]``.

    Attributes:
        receptive_field: Number of frames that one output of the front end depends on.
        frame_stride: Number of frames between two outputs of the front end.
        shortest_input: Minimum number of frames for one output: the receptive field, or fewer under "same" padding.

    Raises:
        ValueError: The input has another shape, dtype or length.

    Example:
        >>> from convrnn.models import preset
        >>> model = SequenceClassifier(preset("clstm", "emotion", in_features=26, num_classes=5))
        >>> model(torch.randn(2, 180, 26), torch.tensor([180, 20])).shape
        torch.Size([2, 5])
        >>> model.receptive_field, model.frame_stride
        (31, 16)
    """

    def __init__(self, config: SequenceClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = FrontEnd(config.in_features, config.front_end)
        self.recurrent = LSTM(self.front_end.out_features, **config.recurrent.model_dump())
        directions = 2 if config.recurrent.bidirectional else 1
        self.dense = linear(directions * config.recurrent.hidden_size, config.dense_features)
        self.output = linear(config.dense_features, config.num_classes)
        self.readout = MeanSoftmax()
        self.receptive_field, self.frame_stride = self.front_end.receptive_field, self.front_end.frame_stride
        self.shortest_input = self.front_end.shortest_input

    def extract_features(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The front end's output: features ``[batch, windows, n]`` and their lengths (None where ``lengths`` is None).

        Example:
            >>> from convrnn.models import preset
            >>> model = SequenceClassifier(preset("conv", "paralinguistic", in_features=26, num_classes=3))
            >>> model.extract_features(torch.randn(1, 180, 26))[0].shape
            torch.Size([1, 44, 100])
        """
        features: tuple[Tensor, Tensor | None] = self.front_end(x, lengths)
        return features

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-probabilities: ``[batch, frames, in_features]`` to ``[batch, num_classes]``."""
        features, lengths = self.extract_features(x, lengths)
        hidden = self.recurrent(features, lengths)
        if self.config.last_frames is not None:
            # The dense layers skip the frames that the readout does not use.
            hidden, lengths = geometry.last_frames(hidden, lengths, self.config.last_frames)
        log_probabilities: Tensor = self.readout(self.output(torch.relu(self.dense(hidden))), lengths)
        return log_probabilities
