"""A model with an output at every frame: front end, stacked LSTMs, linear layer."""

import torch.nn.functional as F
from torch import Tensor, nn

from convrnn.models.config import FrameModelConfig
from convrnn.models.front_end import FrontEnd
from convrnn.nn import LSTM
from convrnn.nn.init import linear
from convrnn.ops import geometry


class FrameModel(nn.Module):
    """Outputs at every frame, for speech recognition by CTC, tagging of frames or regression over time.

    The front end of :class:`convrnn.models.SequenceClassifier`; stacked LSTMs, each of which reads the hidden states of
    the one before; a linear layer on the hidden states of every frame (for two directions this is equation 8). During
    training, dropout is applied to the hidden states of each LSTM.

    Args:
        config: The description of the model.

    Shape:
        - Input: frames ``[batch, frames, in_features]`` and optionally ``lengths``, int64 ``[batch]``. A sequence
          shorter than ``front_end.shortest_input`` frames is padded with zeros to this length.
        - Output: ``[batch, windows, num_outputs]``, zeros past each sequence's end, and their lengths, int64
          ``[batch]``; None without ``lengths``. The outputs are those of the linear layer: for log-probabilities apply
          ``log_softmax``.

    Attributes:
        front_end: The :class:`~convrnn.models.front_end.FrontEnd`; its ``frame_stride`` is the number of input frames
            between two outputs.

    Raises:
        ValueError: The input has another shape, dtype or length.

    Example:
        >>> import torch
        >>> from convrnn.models import preset
        >>> front_end = preset("clstm", "paralinguistic", in_features=40, num_classes=2).front_end
        >>> model = FrameModel(FrameModelConfig(in_features=40, num_outputs=29, front_end=front_end, dropout=0.3))
        >>> outputs, lengths = model(torch.randn(2, 180, 40), torch.tensor([180, 120]))
        >>> outputs.shape, lengths.tolist()
        (torch.Size([2, 44, 29]), [44, 29])
        >>> log_probabilities = outputs.log_softmax(-1).transpose(0, 1)
        >>> text, text_lengths = torch.randint(1, 29, (2, 10)), torch.tensor([10, 7])
        >>> nn.functional.ctc_loss(log_probabilities, text, lengths, text_lengths).shape
        torch.Size([])
    """

    def __init__(self, config: FrameModelConfig) -> None:
        super().__init__()
        self.config = config
        self.front_end = FrontEnd(config.in_features, config.front_end)
        width = self.front_end.out_features
        self.recurrent = nn.ModuleList()
        for _ in range(config.num_layers):
            self.recurrent.append(LSTM(width, **config.recurrent.model_dump()))
            width = (2 if config.recurrent.bidirectional else 1) * config.recurrent.hidden_size
        self.output = linear(width, config.num_outputs)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Outputs ``[batch, windows, num_outputs]`` and their lengths (None where ``lengths`` is None)."""
        x, lengths = self.front_end(x, lengths)
        for layer in self.recurrent:
            x = F.dropout(layer(x, lengths), self.config.dropout, self.training)
        return geometry.mask_frames(self.output(x), lengths), lengths
