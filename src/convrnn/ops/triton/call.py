"""Sizes of the LSTM over windows, and the kernel arguments derived from them."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from convrnn.ops.operands import LSTMOperands, Windows
from convrnn.ops.triton import tiles
from convrnn.ops.triton.tiles import Tile


@dataclass(frozen=True)
class Call:
    """Sizes and options of a windowed LSTM.

    Attributes:
        batch: Number of sequences.
        frames: Frames per sequence.
        features: Features per frame.
        hidden: Number of hidden units.
        positions: Whether each position in the window has separate input weights.
        options: Options of the windows; two directions have the option ``reverse`` only in the second.
        windows: Windows per sequence.
        shape: Shape of the result, with a first axis for two directions.
        directions: 1 or 2; tensors of two have a first axis for them.
    """

    batch: int
    frames: int
    features: int
    hidden: int
    positions: bool
    options: Windows
    windows: int
    shape: tuple[int, ...]
    directions: int = 1

    @classmethod
    def of(cls, operands: LSTMOperands, options: Windows, directions: int = 1) -> "Call":
        """The sizes of an operation's arguments, those of one direction and of the other alike."""
        batch, frames, features = operands.x.shape
        positions = operands.weight_ih.dim() == 3
        windows, shape = options.count(frames), options.shape(operands)
        if directions > 1:
            shape = (directions, *shape)
        return cls(batch, frames, features, operands.hidden, positions, options, windows, shape, directions)

    def one(self, number: int) -> "Call":
        """One of two directions: the second one goes backwards."""
        return replace(self, directions=1, shape=self.shape[1:], options=replace(self.options, reverse=number == 1))

    @property
    def axis(self) -> tuple[int, ...]:
        """The first axis of the tensors of two directions; of one, none."""
        return (self.directions,) if self.directions > 1 else ()

    @property
    def kernel_size(self) -> int:
        """Frames in a window."""
        return self.options.kernel_size

    @property
    def rows(self) -> int:
        """Total number of windows of all sequences, in one direction."""
        return self.batch * self.windows

    @property
    def hidden_steps(self) -> int:
        """Number of steps whose hidden state is needed: all but the last if the features are its cell state."""
        return self.kernel_size - (self.options.sequence == "cell" and self.options.reduce == "last")

    @property
    def first(self) -> int:
        """Position of the frame that is processed first."""
        return self.kernel_size - 1 if self.options.reverse else 0

    @property
    def direction(self) -> int:
        """Offset from a frame to the one that is processed next."""
        return -1 if self.options.reverse else 1

    def tile(self, x: Tensor) -> Tile:
        """The tile of windows that one program computes at a time."""
        features = None if self.positions else self.features
        return tiles.choose(self.directions * self.rows, self.hidden, features, x.dtype, x.device)

    def one_grid(self, x: Tensor) -> bool:
        """Whether the kernels compute two directions at once.

        One direction of many windows fills the GPU, and a backward pass through both would need twice the memory.
        """
        return not self.positions and tiles.few(2 * self.rows, x.device) and self.tile(x).kind != "stepwise"

    def programs(self, tile: Tile) -> int:
        """Number of programs that together compute all rows of one direction."""
        count = -(-self.rows // tile.rows)
        return min(count, max(1, tile.programs // self.directions)) if tile.kind == "resident" else count

    def grid(self, tile: Tile) -> tuple[int, int]:
        """Number of programs for the rows, and of directions."""
        return self.programs(tile), self.directions

    def by_step(self, positions: Tensor) -> Tensor:
        """Reorder from positions in the window to processing order, or back."""
        return positions.flip(0) if self.options.reverse else positions

    def in_windows(self, x: Tensor) -> Tensor:
        """The frames of all windows in processing order: ``[kernel_size, batch, windows, in]``."""
        return self.by_step(x.unfold(1, self.kernel_size, self.options.stride).permute(3, 0, 1, 2))

    def apart(self, x: Tensor) -> Tensor:
        """As :meth:`in_windows`, with one axis for all rows, for products: ``[kernel_size, rows, in]``."""
        return self.in_windows(x).reshape(self.kernel_size, self.rows, x.size(2))

    def sizes(self) -> dict[str, int]:
        """The arguments by which a kernel locates the frames of a window."""
        return {
            "rows": self.rows,
            "windows": self.windows,
            "stride": self.options.stride,
            "sequence_frames": self.windows if self.positions else self.frames,
            "window_frames": 1 if self.positions else self.options.stride,
        }

    @property
    def frame_first(self) -> int:
        """Offset from the start of a window's frames to the projection of its first step."""
        return 0 if self.positions else self.first

    @property
    def frame_step(self) -> int:
        """Offset between the projections of the frames of consecutive steps."""
        return self.rows if self.positions else self.direction

    def constants(self, tile: Tile, dtype: torch.dtype) -> dict[str, Any]:
        """The compile-time constants of a kernel."""
        return {
            "KERNEL_SIZE": self.kernel_size,
            "H": self.hidden,
            "SEQUENCE": self.options.sequence,
            "REDUCE": self.options.reduce,
            "PRECISION": tiles.precision(dtype),
            "ROWS": tile.rows,
            "UNITS": tile.units,
        }
