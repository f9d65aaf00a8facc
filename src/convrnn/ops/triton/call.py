"""Sizes and options of the LSTM over windows, and what follows from them for the kernels."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convrnn.ops import geometry
from convrnn.ops.triton import tiles
from convrnn.ops.triton.tiles import Tile


@dataclass(frozen=True)
class Call:
    """Sizes and options of a windowed LSTM."""

    batch: int
    frames: int
    features: int
    hidden: int
    positions: bool
    kernel_size: int
    stride: int
    sequence: str
    reduce: str
    reverse: bool

    @classmethod
    def of(cls, x: Tensor, weight_ih: Tensor, weight_hh: Tensor, *options: Any) -> "Call":  # noqa: ANN401
        """Of an operation's arguments; ``options`` are those behind the tensors, from ``kernel_size`` on."""
        batch, frames, features = x.shape
        return cls(batch, frames, features, weight_hh.size(1), weight_ih.dim() == 3, *options)

    @property
    def windows(self) -> int:
        """Of one sequence."""
        return geometry.num_windows(self.frames, self.kernel_size, self.stride)

    @property
    def rows(self) -> int:
        """Windows of all sequences."""
        return self.batch * self.windows

    @property
    def hidden_steps(self) -> int:
        """Steps whose hidden state anyone needs."""
        return self.kernel_size - (self.sequence == "cell" and self.reduce == "last")

    @property
    def first(self) -> int:
        """Position of the frame that is processed first."""
        return self.kernel_size - 1 if self.reverse else 0

    @property
    def direction(self) -> int:
        """From a frame to the one that is processed next."""
        return -1 if self.reverse else 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the result."""
        return (self.batch, self.windows, *((self.kernel_size,) if self.reduce == "none" else ()), self.hidden)

    def tile(self, x: Tensor) -> Tile:
        """The part of the windows that one program takes at a time."""
        features = None if self.positions else self.features
        return tiles.choose(self.rows, self.hidden, features, x.dtype, x.device)

    def programs(self, tile: Tile) -> int:
        """That take all rows together."""
        count = -(-self.rows // tile.rows)
        return min(count, tile.programs) if tile.resident else count

    def sizes(self) -> dict[str, int]:
        """Where a kernel finds the frames of a window."""
        return {
            "rows": self.rows,
            "windows": self.windows,
            "stride": self.stride,
            "sequence_frames": self.windows if self.positions else self.frames,
            "window_frames": 1 if self.positions else self.stride,
        }

    @property
    def frame_first(self) -> int:
        """Offset of the projection of a window's first step from where its frames begin."""
        return 0 if self.positions else self.first

    @property
    def frame_step(self) -> int:
        """From there to that of the next step."""
        return self.rows if self.positions else self.direction

    def constants(self, tile: Tile, dtype: torch.dtype) -> dict[str, Any]:
        """For which a kernel is compiled."""
        return {
            "KERNEL_SIZE": self.kernel_size,
            "H": self.hidden,
            "SEQUENCE": self.sequence,
            "REDUCE": self.reduce,
            "PRECISION": tiles.precision(dtype),
            "ROWS": tile.rows,
            "UNITS": tile.units,
        }
