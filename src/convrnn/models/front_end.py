"""The front end of every model: layers that compute features of windows, each with or without pooling."""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from convrnn.models.config import ConvRNNConfig, FrontEndLayerConfig
from convrnn.nn import ConvFeatures, ConvRNN, MaxPool
from convrnn.ops import geometry
from convrnn.ops.checks import check_lengths


class FrontEnd(nn.ModuleList):
    """Features of windows of frames, layer upon layer; it is the list of its layers.

    Args:
        in_features: Values in a frame.
        layers: The layers, first to last. Without any the output is the input, masked past each sequence's end.

    Shape:
        - Input: frames ``[batch, frames, in_features]`` and optionally ``lengths``, int64 ``[batch]``. A sequence
          shorter than ``shortest_input`` frames is padded with zeros to this length.
        - Output: features ``[batch, windows, out_features]`` and their lengths, int64 ``[batch]``; None without
          ``lengths``.

    Attributes:
        out_features: Values in a frame of the output.
        receptive_field: Number of frames that one output depends on.
        frame_stride: Number of frames between two outputs.
        shortest_input: Minimum number of frames for one output: the receptive field, or fewer under "same" padding.

    Raises:
        ValueError: The input has another shape, dtype or length.

    Example:
        >>> import torch
        >>> from convrnn.models import preset
        >>> front_end = FrontEnd(26, preset("clstm", "paralinguistic", in_features=26, num_classes=2).front_end)
        >>> features, lengths = front_end(torch.randn(2, 180, 26), torch.tensor([180, 20]))
        >>> features.shape, lengths.tolist(), front_end.frame_stride
        (torch.Size([2, 44, 100]), [44, 4], 4)
    """

    def __init__(self, in_features: int, layers: Iterable[FrontEndLayerConfig]) -> None:
        parts: list[ConvFeatures | ConvRNN | MaxPool] = []
        width = in_features
        for layer in layers:
            arguments = layer.features.model_dump(exclude={"kind"})
            recurrent = isinstance(layer.features, ConvRNNConfig)
            parts.append(ConvRNN(width, **arguments) if recurrent else ConvFeatures(width, **arguments))
            if layer.pool is not None:
                parts.append(MaxPool(layer.pool.kernel_size, layer.pool.stride))
            width = layer.features.out_features
        super().__init__(parts)
        self.out_features = width
        self.receptive_field, self.frame_stride = geometry.receptive_field((p.kernel_size, p.stride) for p in parts)
        self.shortest_input = 1
        for part in reversed(parts):
            window = 1 if getattr(part, "padding", "valid") == "same" else part.kernel_size
            self.shortest_input = (self.shortest_input - 1) * part.stride + window

    def first_frame(self, length: int) -> int:
        """Position of the first frame of the first window, in a sequence of ``length`` frames.

        It is 0, or negative under "same" padding. Window ``i`` is of the ``receptive_field`` frames from
        ``first_frame + i * frame_stride`` on.

        Example:
            >>> from convrnn.models import preset
            >>> FrontEnd(26, preset("clstm", "emotion", in_features=26, num_classes=2).front_end).first_frame(180)
            0
        """
        first, step = 0, 1
        for part in self:
            assert isinstance(part, ConvFeatures | ConvRNN | MaxPool)
            if getattr(part, "padding", "valid") == "same":
                first -= step * (geometry.same_padding(length, part.kernel_size, part.stride) // 2)
            length = int(part.output_lengths(length))
            step *= part.stride
        return first

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Features ``[batch, windows, out_features]`` and their lengths (None where ``lengths`` is None)."""
        if x.dim() < 3 or x.size(1) == 0:
            raise ValueError(
                f"x must be [batch, frames, features] with at least one frame, but has shape {list(x.shape)}"
            )
        lengths = check_lengths(lengths, x)
        x = geometry.mask_frames(x.flatten(2), lengths)
        x = F.pad(x, (0, 0, 0, max(self.shortest_input - x.size(1), 0)))
        if lengths is not None:
            lengths = lengths.clamp(min=self.shortest_input)
        for layer in self:
            x = layer(x, lengths)
            lengths = None if lengths is None else layer.output_lengths(lengths)  # type: ignore[operator]
        return x, lengths
