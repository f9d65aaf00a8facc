"""A trained model on disk: a folder with ``config.json`` and ``model.safetensors``."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from convrnn.errors import InputError, one_sentence
from convrnn.features.base import MOST_FEATURES
from convrnn.features.config import FeatureConfig
from convrnn.features.normalise import NormalisePolicy, Normaliser, Statistics
from convrnn.files import make_folder, remove, remove_leftovers, sync_folder, temporary_path, write_new
from convrnn.json_files import read_json, validate
from convrnn.models.blocks import LONG, MOST_FRAMES, classify_in_blocks, works_in_blocks
from convrnn.models.classifier import SequenceClassifier
from convrnn.models.config import Classes, CorpusName, Name, SequenceClassifierConfig
from convrnn.models.weights import load_weights, weights_file

FORMAT_VERSION = 1

LEAST_DEVIATION = 1e-30
"""Smallest standard deviation of a feature that is not constant; dividing by less would overflow."""

_Value = Annotated[float, Field(ge=-1e9, le=1e9)]


class StatisticsConfig(BaseModel):
    """Mean and deviation of the training data's features, for the policy "corpus"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: Annotated[tuple[_Value, ...], Field(max_length=MOST_FEATURES)]
    std: Annotated[tuple[Annotated[_Value, Field(ge=0)], ...], Field(max_length=MOST_FEATURES)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for value in self.std:
            if 0 < value < LEAST_DEVIATION:
                raise ValueError(f"std holds {value:g}, less than the deviation of any feature")
        return self


class BundleConfig(BaseModel):
    """Everything about a trained model except its weights: the content of ``config.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = Field(default=FORMAT_VERSION, ge=FORMAT_VERSION, le=FORMAT_VERSION)
    convrnn_version: Name = version("convrnn")
    corpus: CorpusName
    task: Name
    classes: Classes
    name: Name
    setting: Name
    model: SequenceClassifierConfig
    features: FeatureConfig
    normalise: NormalisePolicy
    statistics: StatisticsConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> "BundleConfig":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"a class is repeated: {', '.join(self.classes)}")
        if len(self.classes) != self.model.num_classes:
            raise ValueError(
                f"there are {len(self.classes)} class names, but the model has {self.model.num_classes} classes"
            )
        if self.features.num_features != self.model.in_features:
            raise ValueError(
                f"features have {self.features.num_features} values, but the model takes {self.model.in_features}"
            )
        if (self.statistics is not None) != (self.normalise == "corpus"):
            raise ValueError("statistics are required for the normalisation policy 'corpus', and allowed only for it")
        if self.statistics is not None:
            means, deviations = len(self.statistics.mean), len(self.statistics.std)
            if means != self.features.num_features or deviations != means:
                raise ValueError(
                    f"statistics have {means} mean and {deviations} std values, but there are {self.model.in_features} "
                    "features"
                )
        return self


@dataclass
class Bundle:
    """A saved model, with everything needed to use it on new audio.

    Attributes:
        config: The description of the model and of its input.
        model: The classifier.
    """

    config: BundleConfig
    model: SequenceClassifier

    def normaliser(self, policy: NormalisePolicy | None = None) -> Normaliser:
        """The normaliser that the model was trained with, or one with another ``policy``.

        Raises:
            InputError: If the policy is "corpus" and the model has no training statistics.
        """
        policy = policy or self.config.normalise
        if policy != "corpus":
            return Normaliser(policy)
        statistics = self.config.statistics
        if statistics is None:
            raise InputError(
                f"normalisation 'corpus' needs training statistics, but the model was trained with "
                f"'{self.config.normalise}'; use 'speaker' or 'utterance'"
            )
        return Normaliser(policy, Statistics(mean=np.array(statistics.mean), std=np.array(statistics.std)))

    def log_probabilities(
        self, features: Sequence[NDArray[np.float32]], *, batch_size: int = 32
    ) -> NDArray[np.float32]:
        """Class log-probabilities ``[utterances, classes]`` of normalised features, each ``[frames, features]``.

        On the CPU, recordings of more than :data:`LONG` frames are classified in blocks, so that hours of audio need
        little more memory than their features.

        Raises:
            InputError: If the weights are so large that the probabilities are NaN.
        """
        result = np.empty((len(features), len(self.config.classes)), dtype=np.float32)
        in_blocks = works_in_blocks(self.model)
        for rows, x, lengths in self._batches(features, batch_size):
            with torch.inference_mode():
                long = in_blocks and len(rows) == 1 and x.size(1) > LONG
                result[rows] = (classify_in_blocks(self.model, x) if long else self.model(x, lengths)).float().cpu()
        if np.isnan(result).any():
            raise InputError("the model's probabilities are not numbers; its weights are damaged")
        return result

    def extract_features(
        self, features: Sequence[NDArray[np.float32]], *, batch_size: int = 32
    ) -> list[NDArray[np.float32]]:
        """The front end's features of normalised input: ``[windows, n]`` for each ``[frames, features]``.

        Models without a front end return their input.
        """
        result: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(features)
        for rows, x, lengths in self._batches(features, batch_size):
            with torch.inference_mode():
                extracted, counts = self.model.extract_features(x, lengths)
            assert counts is not None
            for row, sequence, count in zip(rows, extracted.float().cpu().numpy(), counts.tolist(), strict=True):
                result[row] = sequence[:count].copy()
        return result

    def _batches(
        self, features: Sequence[NDArray[np.float32]], batch_size: int
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Batches of utterances of similar length: their positions, padded features and lengths."""
        order = sorted(range(len(features)), key=lambda i: len(features[i]))
        device = next(self.model.parameters()).device
        self.model.eval()
        while order:
            rows = order[:batch_size]
            while len(rows) > 1 and len(rows) * len(features[rows[-1]]) > MOST_FRAMES:
                rows.pop()
            del order[: len(rows)]
            tensors = [torch.from_numpy(features[i]) for i in rows]
            x = tensors[0].unsqueeze(0) if len(rows) == 1 else pad_sequence(tensors, batch_first=True)
            yield rows, x.to(device), torch.tensor([len(features[i]) for i in rows], device=device)

    def save(self, path: Path | str, texts: Mapping[str, str] = MappingProxyType({})) -> None:
        """Writes the folder ``path``, replacing an existing one, under a temporary name first.

        The file of weights holds their digest, so that a change is detected when it is loaded. Everything is flushed to
        disk before the folder is renamed, and leftovers of killed processes are removed.

        Args:
            path: The folder.
            texts: Further files to put into it: their content by name.

        Raises:
            OSError: If it cannot be written.
        """
        path = Path(path)
        make_folder(path.parent)
        weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
        temporary, old = temporary_path(path), temporary_path(path)
        try:
            temporary.mkdir()
            write_new(temporary / "config.json", (self.config.model_dump_json(indent=2) + "\n").encode("utf-8"))
            # The library's own writer makes files that only the owner can read.
            write_new(temporary / "model.safetensors", weights_file(weights))
            for name, text in texts.items():
                write_new(temporary / name, text.encode("utf-8"))
            sync_folder(temporary)
            try:
                if os.path.lexists(path):
                    path.rename(old)
                temporary.rename(path)
            except BaseException:
                if os.path.lexists(old) and not os.path.lexists(path):
                    old.rename(path)
                raise
            sync_folder(path.parent)
        finally:
            remove(temporary)
        remove(old)
        remove_leftovers(path.parent, path.name)

    @classmethod
    def load(cls, path: Path | str) -> "Bundle":
        """Reads a saved model; nothing in it is executed.

        Raises:
            InputError: If a file is missing or damaged, or the model has another format version.
        """
        path = Path(path)
        config = _read_config(path / "config.json")
        try:
            # Nothing is allocated until the file of weights is known to match the config.
            with torch.device("meta"):
                model = SequenceClassifier(config.model)
        except (ValueError, RuntimeError, OverflowError) as error:
            # Each field is valid, but the layers do not accept the combination.
            raise InputError(
                f"{path / 'config.json'}: the model's config is not valid at model: {one_sentence(str(error), 160)}"
            ) from None
        load_weights(path / "model.safetensors", model)
        return cls(config, model.eval())


def _read_config(path: Path) -> BundleConfig:
    if not path.exists():
        raise InputError(f"{path.parent}: not a saved model; it must be a folder with config.json")
    content = read_json(path)
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != FORMAT_VERSION:
        told = one_sentence(repr(found), 40) if isinstance(found, int | str | None) else f"a {type(found).__name__}"
        raise InputError(f"{path}: the model has format version {told}; this version of convrnn reads {FORMAT_VERSION}")
    return validate(BundleConfig, content, path, "the model's config")
