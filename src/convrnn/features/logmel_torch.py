"""Log mel energies within a PyTorch model, for export."""

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from convrnn.features.torch_module import FeatureModule
from convrnn.ops.geometry import mask_frames, num_windows

if TYPE_CHECKING:
    from convrnn.features.logmel import LogMelConfig

FLOOR = torch.finfo(torch.float32).eps
"""Smallest energy, before the logarithm."""


class LogMelFrames(FeatureModule):
    """Log mel energies of samples, as :meth:`convrnn.features.logmel.LogMelConfig.compute` gives them, to 0.001.

    They are computed in float64. The difference can be larger for sound so faint beside a constant offset that the
    library's float32 rounds it. A recording shorter than a frame is padded with zeros to one.

    Args:
        config: The options; see :class:`~convrnn.features.logmel.LogMelConfig` for what is computed.
        scale: The samples are multiplied by this first.

    Example:
        >>> from convrnn.features.logmel import LogMelConfig
        >>> frames = LogMelConfig(sample_rate=16000).to_torch()
        >>> features, lengths = frames(torch.randn(2, 16000), torch.tensor([16000, 8000]))
        >>> features.shape, lengths.tolist()
        (torch.Size([2, 101, 26]), [98, 48])
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: "LogMelConfig", scale: float) -> None:
        length, shift = (int(config.sample_rate * ms / 1000) for ms in (config.frame_ms, config.shift_ms))
        super().__init__(length, shift)
        self.preemphasis = config.preemphasis
        self.padded_length = 2 ** math.ceil(math.log2(self.frame_length))
        # Symmetric, as in Kaldi.
        window = torch.hamming_window(self.frame_length, periodic=False, dtype=torch.float64)
        self.register_buffer("window", scale * window)
        self.register_buffer("filters", _filters(config, self.padded_length))

    @override
    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        # Without the padding, a graph could not cut frames from a batch shorter than one.
        padded = F.pad(mask_frames(samples, lengths).double(), (0, self.frame_length))
        frames = padded.unfold(1, self.frame_length, self.frame_shift)
        frames = frames - frames.mean(dim=2, keepdim=True)
        # The sample before a frame counts as equal to its first one.
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
        frames = self.window * (frames - self.preemphasis * before)
        spectrum = torch.view_as_real(torch.fft.rfft(frames, self.padded_length))
        energies = spectrum.square().sum(dim=-1) @ self.filters
        counts = num_windows(lengths, self.frame_length, self.frame_shift).clamp(min=1)
        return mask_frames(energies.clamp(min=FLOOR).log().float(), counts), counts


def _filters(config: "LogMelConfig", padded_length: int) -> Tensor:
    """The weight of each frequency in each band, ``[padded_length / 2 + 1, bands]``."""

    def mel(hertz: Tensor) -> Tensor:
        return 1127 * torch.log1p(hertz / 700)

    low, high = mel(torch.tensor([config.low_hz, config.highest_hz], dtype=torch.float64))
    edges = low + (high - low) / (config.num_bands + 1) * torch.arange(config.num_bands + 2, dtype=torch.float64)
    hertz = config.sample_rate / padded_length * torch.arange(padded_length // 2 + 1, dtype=torch.float64)
    place = mel(hertz).unsqueeze(1)
    rising = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - place) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    # Kaldi ignores half the sample rate.
    filters[-1] = 0
    return filters
