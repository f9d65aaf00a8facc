"""Readout: combines the outputs of a sequence's frames into one prediction."""

import math

import torch
from torch import Tensor, nn

from convrnn.nn.options import require_positive
from convrnn.ops import geometry
from convrnn.ops.checks import check_lengths


class MeanSoftmax(nn.Module):
    """Mean of the softmax outputs over time, as log-probabilities (sections IV-A and IV-B).

    Computed in log space, so that the cross-entropy of the mean, ``F.nll_loss`` of the output, stays accurate for small
    probabilities.

    Args:
        last: Number of last valid frames to average, or all if a sequence has fewer; None averages all frames.

    Shape:
        - Input: logits ``[batch, frames, classes]``, and optionally ``lengths``, int64 ``[batch]``, each at least 1.
        - Output: log-probabilities ``[batch, classes]``.

    Raises:
        ValueError: if a sequence has no valid frame.

    Example:
        >>> logits = torch.tensor([[[0.0, 5.0], [0.0, 0.0], [0.0, 0.0]]])
        >>> MeanSoftmax(last=2)(logits).exp()
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, last: int | None = None) -> None:
        super().__init__()
        require_positive(last=last)
        self.last = last

    def forward(self, logits: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-probabilities of each sequence: ``[batch, frames, classes]`` to ``[batch, classes]``."""
        if logits.dim() != 3 or logits.size(1) == 0:
            raise ValueError(
                f"logits must be [batch, frames, classes] with at least one frame, but has shape {list(logits.shape)}"
            )
        lengths = check_lengths(lengths, logits)
        if self.last is not None:
            logits, lengths = geometry.last_frames(logits, lengths, self.last)
        if lengths is None:
            return logits.log_softmax(-1).logsumexp(dim=1) - math.log(logits.size(1))
        if not torch.compiler.is_compiling() and lengths.device.type == "cpu" and bool((lengths < 1).any()):
            raise ValueError("lengths must be at least 1 for a prediction, but a sequence has no valid frame")
        lengths = lengths.clamp(min=1)
        log_probabilities = geometry.mask_frames(logits, lengths).log_softmax(-1)
        padding = ~geometry.frame_mask(lengths, logits.size(1)).unsqueeze(-1)
        total = log_probabilities.masked_fill(padding, -torch.inf).logsumexp(dim=1)
        return total - lengths.to(total.dtype).log().unsqueeze(-1)

    def extra_repr(self) -> str:
        """The argument."""
        return f"last={self.last}"
