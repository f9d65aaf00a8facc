"""Frames of the raw waveform within a PyTorch model, for export."""

from torch import Tensor
from typing_extensions import override

from convrnn.features.torch_module import FeatureModule
from convrnn.ops.geometry import mask_frames


class WaveformFrames(FeatureModule):
    """Cuts samples into frames without their mean, as :meth:`convrnn.features.waveform.WaveformConfig.compute` does.

    Args:
        frame_length: Samples in a frame.

    Example:
        >>> import torch
        >>> frames, lengths = WaveformFrames(2)(torch.tensor([[1.0, 3.0, 5.0, 7.0, 0.0]]), torch.tensor([4]))
        >>> frames.tolist(), lengths.tolist()
        ([[[-3.0, -1.0], [1.0, 3.0]]], [2])
    """

    def __init__(self, frame_length: int) -> None:
        super().__init__(frame_length, frame_length)

    @override
    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = mask_frames(samples, lengths).double()
        mean = x.sum(dim=1, keepdim=True) / lengths.unsqueeze(1)
        frames = x.size(1) // self.frame_length
        framed = (x - mean)[:, : frames * self.frame_length].float().unflatten(1, (frames, self.frame_length))
        counts = lengths // self.frame_length
        return mask_frames(framed, counts), counts
