"""A trained model on disk: a folder with ``config.json`` and ``model.safetensors``."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from convrnn.errors import InputError
from convrnn.features.config import FeatureConfig
from convrnn.features.normalise import NormalisePolicy, Normaliser, Statistics
from convrnn.models.classifier import SequenceClassifier
from convrnn.models.config import SequenceClassifierConfig

FORMAT_VERSION = 1


class StatisticsConfig(BaseModel):
    """Mean and deviation of the training data's features, for the policy "corpus"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: tuple[FiniteFloat, ...]
    std: tuple[Annotated[FiniteFloat, Field(ge=0)], ...]


class BundleConfig(BaseModel):
    """Everything about a trained model but its weights; the content of ``config.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    convrnn_version: str = version("convrnn")
    corpus: str
    task: str
    classes: tuple[str, ...]
    name: str
    setting: str
    model: SequenceClassifierConfig
    features: FeatureConfig
    normalise: NormalisePolicy
    statistics: StatisticsConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> "BundleConfig":
        if len(set(self.classes)) < len(self.classes):
            raise ValueError(f"a class is named twice among {', '.join(self.classes)}")
        if len(self.classes) != self.model.num_classes:
            raise ValueError(
                f"{len(self.classes)} classes are named, but the model tells {self.model.num_classes} apart"
            )
        if self.features.num_features != self.model.in_features:
            raise ValueError(
                f"features have {self.features.num_features} values, the model takes {self.model.in_features}"
            )
        if (self.statistics is not None) != (self.normalise == "corpus"):
            raise ValueError("statistics belong to the normalisation policy 'corpus', and to it alone")
        if self.statistics is not None:
            means, deviations = len(self.statistics.mean), len(self.statistics.std)
            if means != self.features.num_features or deviations != means:
                raise ValueError(
                    f"statistics have {means} mean and {deviations} std values, the features {self.model.in_features}"
                )
        return self


@dataclass
class Bundle:
    """A model with all that is needed to use it on new audio.

    Attributes:
        config: What it is, and how its input is made.
        model: The classifier.
    """

    config: BundleConfig
    model: SequenceClassifier

    def normaliser(self, policy: NormalisePolicy | None = None) -> Normaliser:
        """The normaliser that the model was trained with, or one of another ``policy``.

        Raises:
            InputError: for "corpus" where the bundle has no training statistics.
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
        """Class log-probabilities ``[utterances, classes]`` of normalised features, each ``[frames, features]``."""
        result = np.empty((len(features), len(self.config.classes)), dtype=np.float32)
        for rows, x, lengths in self._batches(features, batch_size):
            with torch.inference_mode():
                result[rows] = self.model(x, lengths).float().cpu().numpy()
        return result

    def extract_features(
        self, features: Sequence[NDArray[np.float32]], *, batch_size: int = 32
    ) -> list[NDArray[np.float32]]:
        """What the front end makes of normalised features: ``[windows, n]`` for each ``[frames, features]``.

        Models without a front end give their input back.
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
        """Positions, padded features and lengths of batches of utterances of similar length."""
        order = sorted(range(len(features)), key=lambda i: len(features[i]))
        device = next(self.model.parameters()).device
        self.model.eval()
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            x = pad_sequence([torch.from_numpy(features[i]) for i in rows], batch_first=True).to(device)
            yield rows, x, torch.tensor([len(features[i]) for i in rows], device=device)

    def save(self, path: Path | str) -> None:
        """Write the folder ``path``, in place of one that is there, by renaming a whole one into its place."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            temporary.mkdir()
            (temporary / "config.json").write_text(self.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
            weights = {name: tensor.contiguous() for name, tensor in self.model.state_dict().items()}
            save_file(weights, temporary / "model.safetensors")
            if path.exists():
                old = path.with_name(f".{path.name}.{uuid4().hex}")
                path.rename(old)
                temporary.rename(path)
                shutil.rmtree(old)
            else:
                temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    @classmethod
    def load(cls, path: Path | str) -> "Bundle":
        """Read a bundle; nothing in it is executed.

        Raises:
            InputError: where a file is missing or damaged, or the bundle is of another format version.
        """
        path = Path(path)
        config = _read_config(path / "config.json")
        try:
            # Nothing is allocated before the weights prove that the config means it.
            with torch.device("meta"):
                model = SequenceClassifier(config.model)
        except (ValueError, RuntimeError, OverflowError) as error:
            # Each field is of its kind, but the layers do not take them together.
            raise InputError(f"{path / 'config.json'}: the bundle's config is damaged at model: {error}") from None
        weights = path / "model.safetensors"
        try:
            state = load_file(weights)
            model.load_state_dict(state, assign=True)
        except FileNotFoundError:
            raise InputError(
                f"{path}: model.safetensors is missing; a model bundle has it beside config.json"
            ) from None
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{weights}: the weights are damaged or do not fit config.json ({reason})") from None
        for name, tensor in state.items():
            if tensor.dtype != torch.float32:
                raise InputError(f"{weights}: the weights are damaged: {name} is {tensor.dtype}, not torch.float32")
            if not bool(tensor.isfinite().all()):
                raise InputError(f"{weights}: the weights are damaged: {name} has values that are not finite")
        return cls(config, model.eval())


def _read_config(path: Path) -> BundleConfig:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path.parent}: not a model bundle; it must be a folder with config.json") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: the bundle's config cannot be read ({error})") from None
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != FORMAT_VERSION:
        raise InputError(
            f"{path}: the bundle has format version {found!r}; this version of convrnn reads {FORMAT_VERSION}"
        )
    try:
        return BundleConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise InputError(f"{path}: the bundle's config is damaged at {field}: {first['msg']}") from None
