"""The standard convolutional layer and max-pooling, with lengths."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convrnn.nn.init import glorot_
from convrnn.nn.options import Device, Padding, flatten_frames, require_one_of, require_positive
from convrnn.ops import geometry
from convrnn.ops.checks import check_lengths

_NONLINEARITIES = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}


class ConvFeatures(nn.Module):
    r"""The standard convolutional layer: an affine map of each window and a non-linearity (section III-C).

    .. math::
        f(w) = (\sigma(\operatorname{sum}(W_1 \odot w) + b_1), \dots,
            \sigma(\operatorname{sum}(W_n \odot w) + b_n))

    Args:
        in_features: Number of values in a frame.
        out_features: Features of a window, the paper's n.
        kernel_size: Frames in a window, the paper's r1.
        stride: Frames between the starts of two windows, the paper's r2.
        nonlinearity: "relu", "sigmoid" or "tanh".
        padding: "valid", or "same": zeros around each sequence so that a window starts at every ``stride``-th frame.
        bias: Add biases.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Shape:
        - Input: ``[batch, frames, in_features]`` (or more feature axes with as many values), and optionally
          ``lengths``, int64 ``[batch]``.
        - Output: ``[batch, windows, out_features]``; windows that reach past a sequence's length are zeros.

    The parameters are ``weight`` ``[out_features, in_features, kernel_size]``, as in ``torch.nn.Conv1d``, and ``bias``.

    Raises:
        ValueError: for an invalid option, and for input of the wrong shape, dtype or length.

    Example:
        >>> ConvFeatures(26, 100, kernel_size=5, stride=2)(torch.randn(8, 180, 26)).shape
        torch.Size([8, 88, 100])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int,
        stride: int = 1,
        *,
        nonlinearity: Literal["relu", "sigmoid", "tanh"] = "relu",
        padding: Padding = "valid",
        bias: bool = True,
        device: Device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        require_positive(in_features=in_features, out_features=out_features, kernel_size=kernel_size, stride=stride)
        require_one_of("nonlinearity", nonlinearity, tuple(_NONLINEARITIES))
        require_one_of("padding", padding, ("valid", "same"))
        self.in_features = in_features
        self.out_features = out_features
        self.kernel_size = kernel_size
        self.stride = stride
        self.nonlinearity = nonlinearity
        self.padding = padding
        self.weight = nn.Parameter(torch.empty(out_features, in_features, kernel_size, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Reinitialise: Glorot weights for the map from a whole window to its features, zero biases."""
        glorot_(self.weight.view(self.out_features, -1))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def output_lengths(self, lengths: geometry.Count) -> geometry.Count:
        """Number of windows of sequences with ``lengths`` frames (an integer or an int64 tensor)."""
        if self.padding == "same":
            return geometry.num_windows_same(lengths, self.stride)
        return geometry.num_windows(lengths, self.kernel_size, self.stride)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Features of every window: ``[batch, frames, in_features]`` to ``[batch, windows, out_features]``."""
        x = flatten_frames(x, self.in_features, self.weight.dtype)
        lengths = check_lengths(lengths, x)
        windows = None if lengths is None else self.output_lengths(lengths)
        if self.padding == "same":
            x, _ = geometry.pad_same(x, lengths, self.kernel_size, self.stride)
        elif x.size(1) < self.kernel_size:
            raise ValueError(f"kernel_size is {self.kernel_size}, longer than x with its {x.size(1)} frames")
        else:
            x = geometry.mask_frames(x, lengths)
        y = F.conv1d(x.transpose(1, 2), self.weight, self.bias, self.stride).transpose(1, 2)
        return geometry.mask_frames(_NONLINEARITIES[self.nonlinearity](y), windows)

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"{self.in_features}, {self.out_features}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"nonlinearity={self.nonlinearity!r}, padding={self.padding!r}, bias={self.bias is not None}"
        )


class MaxPool(nn.Module):
    """Max-pooling over windows of frames, separately for each feature (section III-A).

    Args:
        kernel_size: Frames in a pooling window, the paper's p1.
        stride: Frames between the starts of two windows, the paper's p2. Default: ``kernel_size``.

    Shape:
        - Input: ``[batch, frames, features]``, and optionally ``lengths``, int64 ``[batch]``.
        - Output: ``[batch, windows, features]``; windows that reach past a sequence's length are zeros.

    Raises:
        ValueError: for an invalid option, and for input of the wrong shape, dtype or length.

    Example:
        >>> pool = MaxPool(2)
        >>> pool(torch.arange(5.0).view(1, 5, 1)).flatten().tolist(), pool.output_lengths(5)
        ([1.0, 3.0], 2)
    """

    def __init__(self, kernel_size: int, stride: int | None = None) -> None:
        super().__init__()
        require_positive(kernel_size=kernel_size, stride=stride)
        self.kernel_size = kernel_size
        self.stride = stride or kernel_size

    def output_lengths(self, lengths: geometry.Count) -> geometry.Count:
        """Number of pooling windows of sequences with ``lengths`` frames (an integer or an int64 tensor)."""
        return geometry.num_windows(lengths, self.kernel_size, self.stride)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Maximum of every window: ``[batch, frames, features]`` to ``[batch, windows, features]``."""
        if not isinstance(x, Tensor):
            raise ValueError(f"x must be a torch.Tensor, but is a {type(x).__name__}")
        if x.dim() != 3:
            raise ValueError(f"x must be [batch, frames, features], but has shape {list(x.shape)}")
        if x.size(1) < self.kernel_size:
            raise ValueError(f"kernel_size is {self.kernel_size}, longer than x with its {x.size(1)} frames")
        lengths = check_lengths(lengths, x)
        windows = geometry.mask_frames(x, lengths).unfold(1, self.kernel_size, self.stride)
        return geometry.mask_frames(windows.amax(dim=-1), None if lengths is None else self.output_lengths(lengths))

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}"
