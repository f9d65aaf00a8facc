"""The recogniser: features, model, decoding, and its folder on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, model_validator

from convrnn.errors import InputError
from convrnn.features.base import AudioFeatures
from convrnn.features.config import AudioFeatureConfig
from convrnn.features.extract import Segment
from convrnn.features.waveform import WaveformConfig
from convrnn.files import write_atomically
from convrnn.json_files import read_json, validate
from convrnn.models import FrameModel, FrameModelConfig, preset
from convrnn.models.config import RecurrentConfig
from convrnn.models.weights import load_weights, weights_file
from convrnn.training.data import Examples, evaluation_batches
from examples.speech_recognition.corpus import ALPHABET
from examples.speech_recognition.decoding import WordModel, beam_search, greedy
from examples.speech_recognition.features import Array, load_features

STRIDE = 3
"""Frames between two windows of the front end. An output every 30 ms is enough for fast speech with blanks between
equal letters, and a third of the work of one every 10 ms."""

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def model_config(front_end: str, features: AudioFeatures, *, hidden_size: int, num_layers: int) -> FrameModelConfig:
    """The model with a front end of the paper's section IV-B, here without pooling and with a window every 30 ms.

    Args:
        front_end: A name of ``convrnn.models.FRONT_ENDS``, such as "clstm" or "conv".
        features: The input.
        hidden_size: Units of each direction of each LSTM.
        num_layers: Number of LSTMs.

    Raises:
        InputError: The name is unknown.
    """
    window = features.window() if isinstance(features, WaveformConfig) else None
    layers = preset(
        front_end, "paralinguistic", in_features=features.num_features, num_classes=2, waveform_window=window
    ).front_end
    # The last layer's only, in case there is one for the raw waveform below it.
    last = [
        layer.model_copy(update={"features": layer.features.model_copy(update={"stride": STRIDE}), "pool": None})
        for layer in layers[-1:]
    ]
    return FrameModelConfig(
        in_features=features.num_features,
        num_outputs=1 + len(ALPHABET),
        front_end=(*layers[:-1], *last),
        recurrent=RecurrentConfig(hidden_size=hidden_size, bidirectional=True),
        num_layers=num_layers,
        dropout=0.3,
    )


def log_probabilities(model: FrameModel, features: Sequence[Array], *, batch_size: int = 32) -> list[Array]:
    """Log-probabilities ``[windows, outputs]`` of each utterance."""
    found = [np.empty((0, 0), np.float32)] * len(features)
    examples = Examples(features, np.arange(len(features)))
    model.eval()
    for positions in evaluation_batches(examples.lengths, batch_size):
        batch = examples.batch(positions)
        with torch.inference_mode():
            outputs, lengths = model(batch.x, batch.lengths)
            values = outputs.log_softmax(-1).numpy()
        for position, sequence, length in zip(positions.tolist(), values, lengths.tolist(), strict=True):
            found[position] = sequence[:length]
    return found


class RecogniserConfig(BaseModel):
    """Everything about a recogniser except the model's weights: the content of ``config.json``.

    Attributes:
        features: Input features.
        model: The model.
        transcripts: The training transcripts, from which the n-gram of words is counted.
        weight: Weight of the n-gram in the beam search.
        bonus: What the beam search adds for each word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    features: AudioFeatureConfig
    model: FrameModelConfig
    transcripts: tuple[str, ...]
    weight: float
    bonus: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, found, needed in (
            ("in_features", self.model.in_features, self.features.num_features),
            ("num_outputs", self.model.num_outputs, 1 + len(ALPHABET)),
        ):
            if found != needed:
                raise ValueError(f"the model's {name} is {found}; the features and the alphabet need {needed}")
        return self


@dataclass
class Recogniser:
    """A trained recogniser.

    Attributes:
        config: What it is.
        model: Its model.
    """

    config: RecogniserConfig
    model: FrameModel

    def __post_init__(self) -> None:
        self._words = WordModel(self.config.transcripts)

    def transcribe(self, file: Path, *, greedy_only: bool = False) -> str:
        """What is said in a recording.

        Args:
            file: An audio file of any length and sample rate.
            greedy_only: Take the best path, without the n-gram of words.

        Raises:
            InputError: The file cannot be read, or is shorter than one frame.
        """
        outputs = self.log_probabilities(self.features(file))
        if greedy_only:
            return greedy(outputs)
        return beam_search(outputs, self._words, weight=self.config.weight, bonus=self.config.bonus)

    def features(self, file: Path) -> Array:
        """The model's input for a recording, ``[frames, features]``."""
        return load_features(Segment(str(file)), self.config.features)

    def log_probabilities(self, features: Array) -> Array:
        """The model's output, ``[windows, 1 + characters]``, the blank first."""
        (outputs,) = log_probabilities(self.model, [features])
        return outputs

    def save(self, folder: Path) -> None:
        """Writes ``config.json`` and ``model.safetensors`` into a folder.

        Raises:
            InputError: It cannot be written.
        """
        weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        write_atomically(folder / WEIGHTS, weights_file(weights))
        write_atomically(folder / CONFIG, self.config.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what :meth:`save` wrote; nothing in it is executed.

        Raises:
            InputError: A file is missing or damaged.
        """
        if not (folder / CONFIG).exists():
            raise InputError(f"{folder}: is not a trained recogniser; it must be a folder with {CONFIG} and {WEIGHTS}")
        config = validate(RecogniserConfig, read_json(folder / CONFIG), folder / CONFIG, "the recogniser's config")
        with torch.device("meta"):
            model = FrameModel(config.model)
        load_weights(folder / WEIGHTS, model)
        return cls(config, model.eval())
