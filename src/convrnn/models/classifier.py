"""The whole classifier of section IV: front end, recurrent layer, dense layer, softmax, readout."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convrnn.models.config import ConvRNNConfig, FrontEndLayerConfig, SequenceClassifierConfig
from convrnn.nn import LSTM, ConvFeatures, ConvRNN, MaxPool, MeanSoftmax
from convrnn.nn.init import glorot_
from convrnn.ops import geometry
from convrnn.ops.checks import check_lengths


def _front_end_layers(in_features: int, config: FrontEndLayerConfig) -> list[ConvFeatures | ConvRNN | MaxPool]:
    arguments = config.features.model_dump(exclude={"kind"})
    recurrent = isinstance(config.features, ConvRNNConfig)
    features = ConvRNN(in_features, **arguments) if recurrent else ConvFeatures(in_features, **arguments)
    return [features] if config.pool is None else [features, MaxPool(config.pool.kernel_size, config.pool.stride)]


def _dense(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    glorot_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class SequenceClassifier(nn.Module):
    """Class log-probabilities of sequences of frames, the models of section IV.

    A front end of feature layers with pooling; an LSTM over its output; a dense layer of rectified linear units on the
    hidden states of every frame (for two directions this is equation 8); a softmax layer; the mean of the softmax
    outputs over the last or all frames.

    Args:
        config: What it is made of; :func:`convrnn.models.preset` gives the paper's.

    Shape:
        - Input: frames ``[batch, frames, in_features]`` and optionally ``lengths``, int64 ``[batch]``. A sequence
          shorter than ``shortest_input`` frames is followed by zero frames up to it.
        - Output: log-probabilities ``[batch, num_classes]``.

    Attributes:
        receptive_field: Frames that one output of the front end sees.
        frame_stride: Frames between two outputs of the front end.
        shortest_input: Fewest frames that give one output: the receptive field, or fewer under "same" padding.

    Raises:
        ValueError: for input of another shape, dtype or length.

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
        features = config.in_features
        layers: list[ConvFeatures | ConvRNN | MaxPool] = []
        for layer in config.front_end:
            layers += _front_end_layers(features, layer)
            features = layer.features.out_features
        self.front_end = nn.ModuleList(layers)
        self.recurrent = LSTM(features, **config.recurrent.model_dump())
        directions = 2 if config.recurrent.bidirectional else 1
        self.dense = _dense(directions * config.recurrent.hidden_size, config.dense_features)
        self.output = _dense(config.dense_features, config.num_classes)
        self.readout = MeanSoftmax()
        self.receptive_field, self.frame_stride = geometry.receptive_field((p.kernel_size, p.stride) for p in layers)
        self.shortest_input = 1
        for part in reversed(layers):
            window = 1 if getattr(part, "padding", "valid") == "same" else part.kernel_size
            self.shortest_input = (self.shortest_input - 1) * part.stride + window

    def extract_features(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """The front end's output: features ``[batch, windows, n]`` and their lengths (None where ``lengths`` is None).

        Example:
            >>> from convrnn.models import preset
            >>> model = SequenceClassifier(preset("conv", "paralinguistic", in_features=26, num_classes=3))
            >>> model.extract_features(torch.randn(1, 180, 26))[0].shape
            torch.Size([1, 44, 100])
        """
        if x.dim() < 3 or x.size(1) == 0:
            raise ValueError(f"x must be [batch, frames, features] with a frame, but has shape {list(x.shape)}")
        lengths = check_lengths(lengths, x)
        x = geometry.mask_frames(x.flatten(2), lengths)
        x = F.pad(x, (0, 0, 0, max(self.shortest_input - x.size(1), 0)))
        if lengths is not None:
            lengths = lengths.clamp(min=self.shortest_input)
        for layer in self.front_end:
            x = layer(x, lengths)
            lengths = None if lengths is None else layer.output_lengths(lengths)  # type: ignore[operator]
        return x, lengths

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-probabilities: ``[batch, frames, in_features]`` to ``[batch, num_classes]``."""
        features, lengths = self.extract_features(x, lengths)
        hidden = self.recurrent(features, lengths)
        if self.config.last_frames is not None:
            # What the readout drops need not go through the dense layers first.
            hidden, lengths = geometry.last_frames(hidden, lengths, self.config.last_frames)
        log_probabilities: Tensor = self.readout(self.output(torch.relu(self.dense(hidden))), lengths)
        return log_probabilities
