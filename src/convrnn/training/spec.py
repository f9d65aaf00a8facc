"""The full description of one run, and the hash that names its directory.

A :class:`RunSpec` holds everything that can change a run's numbers: equal specs give bitwise equal metrics, so a
finished run never has to be repeated.
"""

import hashlib
import json

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError
from convrnn.features.config import FeatureConfig
from convrnn.features.normalise import NormalisePolicy
from convrnn.features.waveform import WINDOW_LIMITS_MS, WINDOW_MS, WaveformConfig
from convrnn.json_files import told
from convrnn.models.config import Classes, CorpusName, Name, SequenceClassifierConfig
from convrnn.models.presets import preset
from convrnn.training.config import MOST_DEVICES, MOST_SEED, Device, Precision, TrainingConfig

PROTOCOL_VERSION = 5
"""Incremented whenever a code change alters the results of an unchanged spec."""

NOT_HASHED = ("corpus", "model_name", "setting", "window_ms")
"""Fields of a spec that only name things that other fields define."""

MOST_THREADS = 1024
"""Maximum number of threads per operation, as many as the largest servers have cores."""


class RunSpec(BaseModel):
    """One model trained on one split of one task with one seed.

    Attributes:
        protocol_version: :data:`PROTOCOL_VERSION` of the code that made the spec.
        corpus: The corpus as the user named it. Not hashed: the same data under another path is the same run.
        fingerprint: Content hash of the corpus and the task's labels.
        task: Label column.
        classes: Class names, in the order of the model's outputs.
        split: Speakers of the three sets.
        features: Input features.
        normalise: What features are standardised over: each "speaker", each "utterance" or the "corpus".
        balance: Whether smaller classes of the training set are oversampled to the size of the largest (IV-A).
        model_name: Name of the front end. Not hashed: two names can mean the same model.
        setting: "emotion" (section IV-A) or "paralinguistic" (IV-B). Not hashed: ``model`` holds the resulting sizes.
        window_ms: Length in milliseconds of the windows on the raw waveform; None for other features. Not hashed, as
            ``setting``.
        model: The whole classifier.
        training: Optimisation.
        seed: Varies initialisation, balancing and the order of the examples; never the split.
        precision: "32", "tf32" for matrix products on a GPU that are rounded to TF32, or "bf16-mixed" for automatic
            mixed precision in training.
        device: Kind of device.
        devices: Number of devices that train it together. Hashed only if it is not 1, as it was for all runs once.
        threads: Threads per operation on the CPU; part of the spec because the rounding of sums depends on it.
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
    window_ms: float | None = Field(default=None, ge=WINDOW_LIMITS_MS[0], le=WINDOW_LIMITS_MS[1])
    model: SequenceClassifierConfig
    training: TrainingConfig = TrainingConfig()
    seed: int = Field(default=0, ge=0, le=MOST_SEED)
    precision: Precision = "32"
    device: Device = "cpu"
    devices: int = Field(default=1, ge=1, le=MOST_DEVICES)
    threads: int = Field(default=1, ge=1, le=MOST_THREADS)

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the spec's canonical JSON without :data:`NOT_HASHED`."""
        unchanged = {"devices"} if self.devices == 1 else set()
        data = self.model_dump(mode="json", exclude={*NOT_HASHED, *unchanged})
        canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()[:16]


def split_rows(corpus: LabelledCorpus, split: Split) -> dict[str, list[int]]:
    """The row numbers of a split's three sets.

    Args:
        corpus: The corpus.
        split: Speakers of the three sets.

    Returns:
        Row numbers of the corpus's table, in table order, under the keys "train", "validation" and "test".

    Raises:
        InputError: There are fewer than two classes, the split's speakers are not those of the corpus, or a class has
            no training example.
    """
    task, classes = corpus.task, corpus.classes
    if len(classes) < 2:
        raise InputError(f"{corpus.name}: task '{task}' has only one class, '{classes[0]}'; at least two are needed")
    rows = split.rows(corpus)
    split.check_classes(corpus)
    return rows


def model_on(
    features: FeatureConfig, window_ms: float | None, front_end: str, setting: str, num_classes: int
) -> SequenceClassifierConfig:
    """One of the paper's models on these features.

    Args:
        features: Its input.
        window_ms: Length of the windows on the raw waveform in milliseconds; None for other features.
        front_end: Name of a preset.
        setting: "emotion" or "paralinguistic".
        num_classes: Number of classes.

    Raises:
        InputError: The front end or setting is unknown, the front end cannot take the waveform, or ``window_ms`` is
            given for other features.
    """
    window = None
    if isinstance(features, WaveformConfig):
        window = features.window(WINDOW_MS if window_ms is None else window_ms)
    elif window_ms is not None:
        raise InputError(Argument("window_ms", window_ms), f": only for the raw waveform, not for {features.name}")
    return preset(
        front_end, setting, in_features=features.num_features, num_classes=num_classes, waveform_window=window
    )


def make_spec(
    corpus: LabelledCorpus,
    split: Split,
    *,
    front_end: str,
    setting: str,
    features: FeatureConfig | None = None,
    window_ms: float | None = None,
    normalise: NormalisePolicy = "speaker",
    balance: bool = True,
    training: TrainingConfig | None = None,
    seed: int = 0,
    precision: Precision = "32",
    device: Device = "cpu",
    devices: int = 1,
    threads: int = 1,
) -> RunSpec:
    """The spec of one of the paper's models on a split of a corpus.

    Args:
        corpus: The corpus.
        split: Speakers of the three sets.
        front_end: Name of a preset, for example "clstm"; ``convrnn.models.presets.FRONT_ENDS`` lists them.
        setting: "emotion" (section IV-A) or "paralinguistic" (IV-B).
        features: Input features; by default :attr:`~convrnn.corpora.labelled.LabelledCorpus.default_features`.
        window_ms: Length of the windows on the raw waveform in milliseconds; only for that, and by default
            :data:`~convrnn.features.waveform.WINDOW_MS`.
        normalise: What features are standardised over: each "speaker", each "utterance" or the "corpus".
        balance: Whether to balance the training set.
        training: Optimisation; by default the paper's.
        seed: Seed of the run.
        precision: "32", "tf32" or "bf16-mixed".
        device: "cpu", "cuda" or "mps".
        devices: Number of devices that train it together.
        threads: Threads per operation on the CPU.

    Raises:
        InputError: The front end or setting is unknown, the split cannot be trained on (see :func:`split_rows`), or the
            seed or another value is out of range.
    """
    split_rows(corpus, split)
    if features is None:
        features = corpus.default_features
    if features.is_waveform and window_ms is None:
        window_ms = WINDOW_MS
    try:
        return RunSpec(
            corpus=corpus.name,
            fingerprint=corpus.fingerprint,
            task=corpus.task,
            classes=corpus.classes,
            split=split,
            features=features,
            normalise=normalise,
            balance=balance,
            model_name=front_end,
            setting=setting,
            window_ms=window_ms,
            model=model_on(features, window_ms, front_end, setting, len(corpus.classes)),
            training=training or TrainingConfig(),
            seed=seed,
            precision=precision,
            device=device,
            devices=devices,
            threads=threads,
        )
    except ValidationError as error:
        raise InputError(f"{corpus.name}: no run is possible{told(error)}") from None
