"""Sets of examples for a GPU: in its memory or, if they are too large for it, in page-locked memory of the host.

Both fill a batch of a fixed shape without waiting for the GPU. Rows without an example hold one frame of zeros and the
label that the cross-entropy ignores.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from convrnn.training.data import Batch, Examples

NO_LABEL = -100
"""The label that PyTorch's losses ignore."""


def padded_length(frames: int) -> int:
    """The number of frames that a batch is padded to: 4 to 7 times a power of two, so four lengths in an octave.

    Example:
        >>> [padded_length(frames) for frames in (1, 9, 100, 180, 1000)]
        [1, 10, 112, 192, 1024]
    """
    step = 1 << max(0, (frames - 1).bit_length() - 3)
    return -(-frames // step) * step


def new_batch(rows: int, frames: int, features: int, device: torch.device) -> Batch:
    """A batch of one shape, which a set fills again and again; it starts with rows without an example."""
    return Batch(
        torch.zeros(rows, frames, features, device=device),
        torch.ones(rows, dtype=torch.int64, device=device),
        torch.full((rows,), NO_LABEL, dtype=torch.int64, device=device),
    )


class DeviceSet(Protocol):
    """A set of examples that fills batches on a device.

    Attributes:
        lengths: Frames of each example, int64 [examples], in the host's memory.
        features: Features of a frame.
    """

    lengths: NDArray[np.int64]
    features: int

    def begin(self, batches: Sequence[NDArray[np.int64]], rows: int) -> None:
        """Prepares an epoch.

        Args:
            batches: Positions of the examples of each batch.
            rows: Rows of the batches to fill, at least as many as examples in a batch.
        """
        ...

    def fill(self, number: int, batch: Batch) -> None:
        """Fills ``batch`` with the batch ``number`` of the epoch, counted from 0."""
        ...


class ResidentSet:
    """Examples in the memory of the device, where batches are gathered.

    An example that occurs several times, as balancing makes it, is stored once.

    Args:
        examples: The examples.
        device: Where they go.

    Example:
        >>> examples = Examples([np.ones((2, 1), np.float32), np.ones((3, 1), np.float32)], np.array([0, 1]))
        >>> held, batch = ResidentSet(examples, torch.device("cpu")), new_batch(3, 4, 1, torch.device("cpu"))
        >>> held.begin([np.array([1, 0])], rows=3)
        >>> held.fill(0, batch)
        >>> batch.x[..., 0].tolist(), batch.labels.tolist()
        ([[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]], [1, 0, -100])
    """

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self.lengths = examples.lengths
        self.features = examples.features[0].shape[1]
        starts, total = [], 0
        first_frames: dict[int, int] = {}
        for array in examples.features:
            if id(array) not in first_frames:
                first_frames[id(array)] = total
                total += len(array)
            starts.append(first_frames[id(array)])
        # The last frame is of zeros: it is the padding, and the only frame of the example in rows without one.
        self._frames = torch.zeros(total + 1, self.features, device=device)
        for array, start in zip(examples.features, starts, strict=True):
            if first_frames.pop(id(array), None) is not None:
                self._frames[start : start + len(array)] = torch.from_numpy(array)
        self._zeros = total
        self._starts = torch.tensor([*starts, total], device=device)
        self._lengths = torch.tensor([*self.lengths.tolist(), 1], device=device)
        self._labels = torch.tensor([*examples.labels.tolist(), NO_LABEL], device=device)
        self._order = torch.empty(0, dtype=torch.int64, device=device)

    @staticmethod
    def size(examples: Examples) -> int:
        """Bytes of the features of a set of examples, each counted once."""
        return sum({id(array): array.nbytes for array in examples.features}.values())

    def begin(self, batches: Sequence[NDArray[np.int64]], rows: int) -> None:
        """Uploads the order of an epoch."""
        order = np.full((len(batches), rows), len(self.lengths), dtype=np.int64)
        for row, positions in zip(order, batches, strict=True):
            row[: len(positions)] = positions
        self._order = torch.from_numpy(order).to(self._frames.device)

    @torch.no_grad()
    def fill(self, number: int, batch: Batch) -> None:
        """Gathers the batch ``number`` of the epoch."""
        rows = self._order[number]
        torch.index_select(self._lengths, 0, rows, out=batch.lengths)
        torch.index_select(self._labels, 0, rows, out=batch.labels)
        frame = torch.arange(batch.x.size(1), device=batch.x.device)
        inside = frame < batch.lengths.unsqueeze(1)
        source = torch.where(inside, self._starts[rows].unsqueeze(1) + frame, self._zeros)
        torch.index_select(self._frames, 0, source.flatten(), out=batch.x.view(-1, self.features))


class StreamedSet:
    """Examples in the host's memory; batches are put together there, and copied while the device computes.

    Args:
        examples: The examples.
        device: Where the batches go.
    """

    def __init__(self, examples: Examples, device: torch.device) -> None:
        self.lengths = examples.lengths
        self.features = examples.features[0].shape[1]
        self._examples = examples
        self._buffers = [_Buffer(device), _Buffer(device)]
        self._batches: Sequence[NDArray[np.int64]] = ()

    def begin(self, batches: Sequence[NDArray[np.int64]], rows: int) -> None:  # noqa: ARG002 - rows are of the batch
        """Notes the order of an epoch."""
        self._batches = batches

    @torch.no_grad()
    def fill(self, number: int, batch: Batch) -> None:
        """Puts the batch ``number`` of the epoch together and copies it."""
        positions = self._batches[number]
        buffer = self._buffers[number % len(self._buffers)]
        x, lengths, labels = buffer.like(batch)
        x.zero_()
        lengths.fill_(1)
        labels.fill_(NO_LABEL)
        for row, position in enumerate(positions.tolist()):
            x[row, : self.lengths[position]] = torch.from_numpy(self._examples.features[position])
        lengths[: len(positions)] = torch.from_numpy(self.lengths[positions])
        labels[: len(positions)] = torch.from_numpy(self._examples.labels[positions])
        buffer.copy_to(batch)


class _Buffer:
    """A batch in page-locked memory, from which a GPU copies while the host goes on."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._frames = torch.empty(0)
        self._batch = new_batch(0, 0, 0, torch.device("cpu"))
        self._copied = torch.cuda.Event() if self._on_gpu else None

    def like(self, batch: Batch) -> Batch:
        """The buffer in the shape of a batch, as soon as what it held before is copied."""
        if self._copied is not None:
            self._copied.synchronize()
        if self._frames.numel() < batch.x.numel():
            self._frames = torch.empty(batch.x.numel(), pin_memory=self._on_gpu)
        x = self._frames[: batch.x.numel()].view(batch.x.shape)
        if self._batch.lengths.shape != batch.lengths.shape:
            lengths, labels = (torch.empty(each.shape, dtype=each.dtype, pin_memory=self._on_gpu) for each in batch[1:])
            self._batch = Batch(x, lengths, labels)
        self._batch = self._batch._replace(x=x)
        return self._batch

    def copy_to(self, batch: Batch) -> None:
        """Starts copying the buffer."""
        for to, tensor in zip(batch, self._batch, strict=True):
            to.copy_(tensor, non_blocking=True)
        if self._copied is not None:
            self._copied.record()


def place(examples: Sequence[Examples], device: torch.device, most_bytes: int) -> list[ResidentSet | StreamedSet]:
    """Sets on a device: in its memory as long as they fit.

    Args:
        examples: The sets, those used most first.
        device: The device.
        most_bytes: How much of its memory they may take together.
    """
    placed: list[ResidentSet | StreamedSet] = []
    for each in examples:
        size = ResidentSet.size(each)
        fits = size <= most_bytes
        placed.append(ResidentSet(each, device) if fits else StreamedSet(each, device))
        most_bytes -= size if fits else 0
    return placed
