"""What defines one run, and the hash that names its directory.

A :class:`RunSpec` holds everything that can change a run's numbers: two equal specs give bitwise the same metrics, so a
finished run never has to be done twice.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from convrnn.features.config import FeatureConfig, LogMelConfig
from convrnn.features.normalise import NormalisePolicy
from convrnn.json_files import told
from convrnn.models.config import Classes, CorpusName, Name, SequenceClassifierConfig
from convrnn.models.presets import preset

PROTOCOL_VERSION = 5
"""Raised whenever a change of the code changes the results of an unchanged spec."""

NOT_HASHED = ("corpus", "model_name", "setting")
"""Fields of a spec that only name what other fields hold."""

Precision = Literal["32", "bf16-mixed"]
Device = Literal["cpu", "cuda"]
Beta = Annotated[float, Field(ge=0, lt=1)]

MOST_SEED = 2**63 - 1
"""Largest seed: JSON readers take integers of 64 bits."""

MOST_EPOCHS = 10**6
"""Epochs at most; at a second each they are eleven days."""

MOST_THREADS = 1024
"""Threads of one operation at most, as many as the largest servers have."""


class TrainingConfig(BaseModel):
    """The optimisation of section IV-A: Adam, early stopping on the validation misclassification rate.

    Attributes:
        batch_size: Utterances per step (the last batches of an epoch may be smaller).
        lr: Adam's learning rate.
        betas: Adam's decay rates in PyTorch's convention. The paper's "beta1 = 0.1, beta2 = 0.001" are these, written
            as 1 - beta by its framework.
        eps: Adam's epsilon.
        gradient_clip_norm: Largest norm of the gradient of all parameters together, None for no clipping.
        max_epochs: Epochs at most.
        patience: Training stops after this many epochs without a lower validation misclassification rate.

    Example:
        >>> TrainingConfig(max_epochs=15).betas
        (0.9, 0.999)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=32, ge=1, le=2**16)
    lr: float = Field(default=0.002, gt=0, le=1000)
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0, le=1)
    gradient_clip_norm: float | None = Field(default=None, gt=0, le=1e9)
    max_epochs: int = Field(default=100, ge=1, le=MOST_EPOCHS)
    patience: int = Field(default=12, ge=1, le=MOST_EPOCHS)


class RunSpec(BaseModel):
    """One model trained on one split of one task with one seed.

    Attributes:
        protocol_version: :data:`PROTOCOL_VERSION` of the code that made the spec.
        corpus: The corpus as the user named it. Not hashed: the same data under another path is the same run.
        fingerprint: Content hash of the corpus and the task's labels.
        task: Label column.
        classes: Class names; a class's position is its index in the model's output.
        split: Speakers of the three sets.
        features: Input features.
        normalise: Over which frames features are standardised: "speaker", "utterance" or "corpus".
        balance: Whether the smaller classes of the training set are filled up to the size of the largest (IV-A).
        model_name: Name of the front end, as the user knows it. Not hashed: two names can mean the same model.
        setting: "emotion" (section IV-A) or "paralinguistic" (IV-B). Not hashed: ``model`` says what it comes to.
        model: The whole classifier.
        training: Optimisation.
        seed: Varies initialisation, balancing and the order of the examples; never the split.
        precision: "32", or "bf16-mixed" for automatic mixed precision in training.
        device: Device type.
        threads: Threads of one operation on the CPU; fixed because sums depend on it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    protocol_version: int = Field(default=PROTOCOL_VERSION, ge=0, le=10**6)
    corpus: CorpusName
    fingerprint: Name
    task: Name
    classes: Classes
    split: Split
    features: FeatureConfig
    normalise: NormalisePolicy
    balance: bool = True
    model_name: Name
    setting: Name
    model: SequenceClassifierConfig
    training: TrainingConfig = TrainingConfig()
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    precision: Precision = "32"
    device: Device = "cpu"
    threads: int = Field(default=1, ge=1, le=MOST_THREADS)

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the spec's canonical JSON without the names of things."""
        data = self.model_dump(mode="json", exclude=set(NOT_HASHED))
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:16]


def split_rows(corpus: Corpus, task: str, split: Split) -> dict[str, list[int]]:
    """The row numbers of a split's three sets.

    Args:
        corpus: The corpus.
        task: One of its tasks.
        split: Speakers of the three sets.

    Returns:
        "train", "validation" and "test", each with row numbers of ``corpus.for_task(task).table`` in table order.

    Raises:
        InputError: For an unknown task, fewer than two classes, speakers that are not the corpus's, or a class with no
            training example.
    """
    corpus = corpus.for_task(task)
    classes = corpus.classes(task)
    if len(classes) < 2:
        raise InputError(f"{corpus.name}: task '{task}' has one class only, '{classes[0]}'; at least two are needed")
    rows = split.rows(corpus)
    split.check_classes(corpus, task)
    return rows


def make_spec(
    corpus: Corpus,
    task: str,
    split: Split,
    *,
    front_end: str,
    setting: str,
    features: FeatureConfig | None = None,
    normalise: NormalisePolicy = "speaker",
    balance: bool = True,
    training: TrainingConfig | None = None,
    seed: int = 0,
    precision: Precision = "32",
    device: Device = "cpu",
    threads: int = 1,
    fingerprint: str | None = None,
) -> RunSpec:
    """The spec of one of the paper's models on a split of a corpus.

    Args:
        corpus: The corpus.
        task: One of its tasks.
        split: Speakers of the three sets.
        front_end: Name of a preset, for example "clstm"; ``convrnn.models.presets.FRONT_ENDS`` lists them.
        setting: "emotion" (section IV-A) or "paralinguistic" (IV-B).
        features: Input features; by default log-mel at the lowest sample rate of the task's files, 16 kHz at most.
        normalise: Over which frames features are standardised: "speaker", "utterance" or "corpus".
        balance: Whether to balance the training set.
        training: Optimisation; by default the paper's.
        seed: Seed of the run.
        precision: "32" or "bf16-mixed".
        device: "cpu" or "cuda".
        threads: Threads of one operation on the CPU.
        fingerprint: ``corpus.fingerprint(task)`` where the caller already has it (it reads all the audio).

    Raises:
        InputError: For an unknown task, front end or setting, for a split that cannot be trained on
            (see :func:`split_rows`), and for a seed or another value beyond its bounds.
    """
    split_rows(corpus, task, split)
    if features is None:
        features = LogMelConfig(sample_rate=corpus.sample_rate(task))
    classes = tuple(corpus.classes(task))
    try:
        return RunSpec(
            corpus=corpus.name,
            fingerprint=corpus.fingerprint(task) if fingerprint is None else fingerprint,
            task=task,
            classes=classes,
            split=split,
            features=features,
            normalise=normalise,
            balance=balance,
            model_name=front_end,
            setting=setting,
            model=preset(front_end, setting, in_features=features.num_features, num_classes=len(classes)),
            training=training or TrainingConfig(),
            seed=seed,
            precision=precision,
            device=device,
            threads=threads,
        )
    except ValidationError as error:
        raise InputError(f"{corpus.name}: a run is not possible{told(error)}") from None
