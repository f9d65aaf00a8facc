"""The lip reader: from frames to words or sentences, and its folder on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from convrnn.errors import InputError
from convrnn.files import write_atomically
from convrnn.json_files import read_json, validate
from convrnn.models import FrameModel, FrameModelConfig, preset
from convrnn.models.config import RecurrentConfig
from convrnn.models.weights import load_weights, weights_file
from convrnn.nn import MeanSoftmax
from convrnn.ops.geometry import frame_mask
from examples.video.clips import FRAME_RATE, Frames, frame_at

CONFIG, WEIGHTS = "config.json", "model.safetensors"

WINDOW = 5
"""Frames of a window of the front end: 0.2 s. Every frame is the middle of one."""

POOL = 2
"""Each value of the input is the mean of this many pixels squared."""

CHANNELS = 16
"""Channels of the first 2-D convolution; the second has twice as many."""


class ReaderConfig(BaseModel):
    """What a lip reader is made of.

    Attributes:
        reads: "words", one in an example, or "sentences", by connectionist temporal classification (CTC).
        task: The kind of words, for example "digit".
        classes: The words. For sentences, output 0 is CTC's blank and word ``i`` is output ``i + 1``.
        size: Height and width of a clip in pixels.
        crop: Top, left, height and width of the part of a frame that is read.
        pool: Each value of the input is the mean of ``pool × pool`` pixels.
        channels: Channels of the first 2-D convolution of each frame; 0 for none, so that frames are flattened.
        front_end: Name of the front end, for example "clstm".
        network: Everything after the 2-D convolutions.
        context: Frames that are read before and after a word.
        usual_frames: Median length of the training examples.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reads: Literal["words", "sentences"]
    task: str
    classes: tuple[str, ...]
    size: tuple[int, int]
    crop: tuple[int, int, int, int]
    pool: int
    channels: int
    front_end: str
    network: FrameModelConfig
    context: int
    usual_frames: int


def network_config(
    front_end: str, crop: tuple[int, int, int, int], *, channels: int, outputs: int, hidden_size: int
) -> FrameModelConfig:
    """The front end of the paper's section IV-B without pooling, with a window around every frame; then a BLSTM.

    Args:
        front_end: A name of ``convrnn.models.FRONT_ENDS``.
        crop: As of :class:`ReaderConfig`.
        channels: As of :class:`ReaderConfig`.
        outputs: Outputs of a frame.
        hidden_size: Units of each direction of the LSTM.

    Raises:
        InputError: The name is unknown.
    """
    height, width = crop[2] // POOL, crop[3] // POOL
    features = 2 * channels * (height // 8) * (width // 8) if channels else height * width
    layers = preset(front_end, "paralinguistic", in_features=features, num_classes=2).front_end
    window = {"kernel_size": WINDOW, "stride": 1, "padding": "same"}
    return FrameModelConfig(
        in_features=features,
        num_outputs=outputs,
        front_end=tuple(
            layer.model_copy(update={"features": layer.features.model_copy(update=window), "pool": None})
            for layer in layers
        ),
        recurrent=RecurrentConfig(hidden_size=hidden_size, bidirectional=True),
        num_layers=1,
        dropout=0.5,
    )


class LipReader(nn.Module):
    """Log-probabilities of words at every frame.

    The frames are averaged over squares of pixels and standardised with the training mean and deviation of each value.
    Then they are flattened (section III-A), or go through two 2-D convolutions, each frame by itself. The rest is a
    :class:`convrnn.models.FrameModel`: the front end over windows of frames, a bidirectional LSTM, a linear layer.

    Args:
        config: What it is made of.

    Shape:
        - Input: uint8 frames ``[batch, frames, height, width]``, already cropped, and ``lengths``, int64 ``[batch]``.
        - Output: log-probabilities ``[batch, frames, outputs]``.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        _, _, height, width = config.crop
        shape = height // config.pool, width // config.pool
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))
        self.convolutions = _convolutions(config.channels) if config.channels else None
        self.network = FrameModel(config.network)
        self.readout = MeanSoftmax()

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities at every frame."""
        x = (pooled(frames, self.config.pool) - self.mean) / self.deviation
        if self.convolutions is not None:
            inside = frame_mask(lengths, x.size(1))
            features = self.convolutions(x[inside].unsqueeze(1))
            x = features.new_zeros(*inside.shape, features.size(1)).masked_scatter(inside.unsqueeze(-1), features)
        outputs, _ = self.network(x, lengths)
        log_probabilities: Tensor = outputs.log_softmax(-1)
        return log_probabilities

    def loss(self, log_probabilities: Tensor, lengths: Tensor, targets: Sequence[tuple[int, ...]]) -> Tensor:
        """Mean loss of an example: the cross-entropy of its mean over time, or that of CTC.

        Args:
            log_probabilities: ``[batch, frames, outputs]``.
            lengths: int64 ``[batch]``.
            targets: Class indices of each example.
        """
        if self.config.reads == "words":
            return F.nll_loss(self.readout(log_probabilities, lengths), torch.tensor([it[0] for it in targets]))
        labels = torch.tensor([place + 1 for target in targets for place in target])
        sizes = torch.tensor([len(target) for target in targets])
        total = F.ctc_loss(log_probabilities.transpose(0, 1), labels, lengths, sizes, reduction="sum")
        return total / len(targets)

    def aligned_loss(self, log_probabilities: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of the frames of sentences, summed over each and averaged over the batch.

        Args:
            log_probabilities: ``[batch, frames, outputs]``.
            lengths: int64 ``[batch]``.
            labels: The output at each frame, int64 ``[batch, frames]``.
        """
        inside = frame_mask(lengths, labels.size(1))
        return F.nll_loss(log_probabilities[inside], labels[inside], reduction="sum") / len(labels)

    def decode(self, log_probabilities: Tensor, lengths: Tensor) -> list[str]:
        """What each example says: the most probable word, or the words on the most probable path."""
        if self.config.reads == "words":
            best = self.readout(log_probabilities, lengths).argmax(-1)
            return [self.config.classes[place] for place in best.tolist()]
        paths = [
            path[:count].unique_consecutive() for path, count in zip(log_probabilities.argmax(-1), lengths, strict=True)
        ]
        return [" ".join(self.config.classes[place - 1] for place in path.tolist() if place) for path in paths]

    @torch.inference_mode()
    def read(self, clip: Frames, start: float = 0.0, end: float | None = None, *, name: str = "the clip") -> str:
        """What is said in a clip, or in a part of it.

        Args:
            clip: Whole frames.
            start: Where a word begins, in seconds; frames of context are added.
            end: Where it ends; None for the end of the clip.
            name: What an error calls the clip.

        Raises:
            InputError: The clip has another size than those of the training, or fewer frames than a window; or the
                word does not lie within it.
        """
        self.eval()
        frames = self._cropped(clip, name)
        seconds = len(frames) / FRAME_RATE
        end = seconds if end is None else end
        if not 0 <= start < end <= seconds:
            raise InputError(f"{name}: a word from {start:g} s to {end:g} s does not lie within its {seconds:g} s")
        first, last = (
            frame_at(start) - self.config.context,
            max(frame_at(end), frame_at(start) + 1) + self.config.context,
        )
        frames = frames[max(first, 0) : last].unsqueeze(0)
        lengths = torch.tensor([frames.size(1)])
        (text,) = self.decode(self(frames, lengths), lengths)
        return text

    @torch.inference_mode()
    def over_time(self, clip: Frames, *, name: str = "the clip") -> Tensor:
        """Probabilities ``[frames, outputs]`` along a clip.

        Of sentences, those at each frame; of words, those of a word of the usual length around each frame.

        Args:
            clip: Whole frames.
            name: What an error calls the clip.

        Raises:
            InputError: The clip has another size than those of the training, or fewer frames than a window.
        """
        self.eval()
        frames = self._cropped(clip, name)
        count = len(frames)
        if self.config.reads == "sentences":
            along: Tensor = self(frames.unsqueeze(0), torch.tensor([count]))[0].exp()
            return along
        half = self.config.usual_frames // 2
        spans = [(max(at - half, 0), min(at + half + 1, count)) for at in range(count)]
        lengths = torch.tensor([end - start for start, end in spans])
        batch = nn.utils.rnn.pad_sequence([frames[start:end] for start, end in spans], batch_first=True)
        probabilities: Tensor = self.readout(self(batch, lengths), lengths).exp()
        return probabilities

    def _cropped(self, clip: Frames, name: str) -> Tensor:
        height, width = self.config.size
        if clip.shape[1:] != (height, width):
            raise InputError(
                f"{name}: is {clip.shape[2]} × {clip.shape[1]} pixels, but must be {width} × {height} as in training"
            )
        if len(clip) < WINDOW:
            raise InputError(f"{name}: has {len(clip)} frames, fewer than a window of {WINDOW}")
        top, left, rows, columns = self.config.crop
        return torch.from_numpy(clip[:, top : top + rows, left : left + columns].copy())

    def save(self, folder: Path) -> None:
        """Writes ``config.json`` and ``model.safetensors``.

        Raises:
            OSError: They cannot be written.
        """
        write_atomically(folder / CONFIG, self.config.model_dump_json(indent=2) + "\n")
        write_atomically(
            folder / WEIGHTS, weights_file({name: it.contiguous() for name, it in self.state_dict().items()})
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what :meth:`save` wrote; nothing in it is executed.

        Raises:
            InputError: A file is missing or damaged.
        """
        config = validate(ReaderConfig, read_json(folder / CONFIG), folder / CONFIG, "the lip reader")
        with torch.device("meta"):
            reader = cls(config)
        load_weights(folder / WEIGHTS, reader)
        return reader.eval()


def pooled(frames: Tensor, pool: int) -> Tensor:
    """Means over ``pool × pool`` pixels: uint8 ``[batch, frames, height, width]`` to float32.

    Example:
        >>> pooled(torch.arange(8, dtype=torch.uint8).reshape(1, 1, 2, 4), 2)
        tensor([[[[2.5000, 4.5000]]]])
    """
    return F.avg_pool2d(frames.float(), pool)


def _convolutions(channels: int) -> nn.Sequential:
    """Features ``[frames, n]`` of frames ``[frames, 1, height, width]``; height and width shrink to an eighth."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 5, stride=2, padding=2),
        nn.GroupNorm(4, channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1),
        nn.GroupNorm(4, 2 * channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
