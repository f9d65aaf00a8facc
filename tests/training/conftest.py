"""A corpus of short tones, which a tiny model learns in a few epochs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from bundles import STATISTICS, make_bundle
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.registry import open_corpus
from convrnn.corpora.splits import Split
from convrnn.features.logmel import LogMelConfig
from convrnn.models.config import (
    ConvRNNConfig,
    FrontEndLayerConfig,
    MaxPoolConfig,
    RecurrentConfig,
    SequenceClassifierConfig,
)
from convrnn.training.config import TrainingConfig
from convrnn.training.epochs import EpochReport
from convrnn.training.fit import run
from convrnn.training.loop import StepReport
from convrnn.training.result import RunResult
from convrnn.training.spec import RunSpec
from tones import noise

RATE = 8000
PITCH = {"high": 1500.0, "low": 300.0, "middle": 700.0}
SPLIT = Split("by-hand", train=("s0", "s1", "s2", "s3"), validation=("s4",), test=("s5", "s6"))


def tone(generator: np.random.Generator, pitch: float, seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return 0.3 * np.sin(2 * np.pi * pitch * time) + 0.1 * generator.standard_normal(len(time))


@pytest.fixture(scope="session")
def tones_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """49 tones: one high, four low and two middle ones per speaker; every second has a label for "partial"."""
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(5)
    lines = ["file,speaker,pitch,partial"]
    for speaker in range(7):
        for name, count in (("high", 1), ("low", 4), ("middle", 2)):
            for number in range(count):
                file = f"s{speaker}-{name}-{number}.wav"
                samples = tone(generator, PITCH[name] * (1 + 0.02 * speaker), generator.uniform(0.15, 0.4))
                soundfile.write(folder / file, samples, RATE, subtype="FLOAT")
                lines.append(f"{file},s{speaker},{name},{name if len(lines) % 2 else ''}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder / "data.csv"


@pytest.fixture(scope="session")
def all_tones(tones_csv: Path) -> Corpus:
    return open_corpus(f"csv:{tones_csv}")


@pytest.fixture(scope="session")
def tones(all_tones: Corpus) -> LabelledCorpus:
    return all_tones.for_task("pitch")


def tiny_model(num_classes: int = 3) -> SequenceClassifierConfig:
    layer = FrontEndLayerConfig(
        features=ConvRNNConfig(out_features=6, kernel_size=3, stride=2), pool=MaxPoolConfig(kernel_size=2, stride=2)
    )
    return SequenceClassifierConfig(
        in_features=8,
        num_classes=num_classes,
        front_end=(layer,),
        recurrent=RecurrentConfig(hidden_size=8),
        dense_features=10,
        last_frames=4,
    )


SpecMaker = Callable[..., RunSpec]


@pytest.fixture(scope="session")
def make(tones: LabelledCorpus) -> SpecMaker:
    def make_tiny(**changes: Any) -> RunSpec:
        fields: dict[str, Any] = {
            "corpus": "tones",
            "fingerprint": tones.fingerprint,
            "task": "pitch",
            "classes": ("high", "low", "middle"),
            "split": SPLIT,
            "features": LogMelConfig(sample_rate=RATE, num_bands=8),
            "normalise": "speaker",
            "model_name": "tiny",
            "setting": "emotion",
            "model": tiny_model(),
            "training": TrainingConfig(batch_size=8, lr=0.01, max_epochs=3, patience=12),
            "seed": 1,
        }
        return RunSpec(**(fields | changes))

    return make_tiny


@pytest.fixture
def folders(tmp_path: Path, cache: Path) -> dict[str, Path]:
    return {"cache_dir": cache, "runs_dir": tmp_path / "runs"}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def learns() -> TrainingConfig:
    return TrainingConfig(batch_size=8, lr=0.01, max_epochs=8, patience=3)


Finished = tuple[RunResult, list[EpochReport], list[StepReport]]


@pytest.fixture(scope="session")
def finished(
    tones: Corpus, make: SpecMaker, learns: TrainingConfig, cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """A finished run that has learnt, and its reports."""
    reports: list[EpochReport] = []
    steps: list[StepReport] = []
    result = run(
        make(training=learns),
        tones,
        cache_dir=cache,
        runs_dir=tmp_path_factory.mktemp("runs"),
        on_epoch=reports.append,
        on_step=steps.append,
    )
    return result, reports, steps


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three recordings of 16, 44.1 (stereo) and 48 kHz."""
    folder = tmp_path_factory.mktemp("files")
    for i, (rate, channels) in enumerate(((16000, 1), (44100, 2), (48000, 1))):
        soundfile.write(folder / f"{i}.wav", noise(1 + i / 3, rate, channels, seed=i).T, rate, subtype="FLOAT")
    return [folder / f"{i}.wav" for i in range(3)]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of a model for each policy."""
    root = tmp_path_factory.mktemp("models")
    for policy in ("speaker", "utterance", "corpus"):
        make_bundle(normalise=policy, statistics=STATISTICS if policy == "corpus" else None).save(root / policy)
    return root
