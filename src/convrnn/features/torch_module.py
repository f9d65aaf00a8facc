"""The base class of features within a PyTorch model."""

from torch import Tensor, nn


class FeatureModule(nn.Module):
    """Computes features of samples in an exported model.

    Args:
        frame_length: Samples in a frame.
        frame_shift: Samples between the starts of neighbouring frames.

    Attributes:
        frame_length: As given.
        frame_shift: As given.

    Shape:
        - Input: samples ``[batch, samples]``, mono, with full scale 1, and ``lengths``, the samples of each recording,
          int64 ``[batch]``.
        - Output: features ``[batch, frames, features]``, zeros past each recording's last whole frame, and the number
          of these frames.
    """

    def __init__(self, frame_length: int, frame_shift: int) -> None:
        super().__init__()
        self.frame_length, self.frame_shift = frame_length, frame_shift

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features of samples, and how many frames each recording has."""
        raise NotImplementedError
