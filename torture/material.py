"""Valid inputs to start from: a corpus of tones, a small model and a run of it, made anew and always the same."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 8000
SPEAKERS = 6
PITCHES = {"low": 300.0, "high": 1500.0}
TASK = "pitch"
PARTITIONS = ("train", "train", "train", "validation", "test", "test")


def tone(hertz: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """A tone with some noise, ``[samples]`` at :data:`RATE`."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time))
    sound: NDArray[np.float64] = 0.3 * np.sin(2 * np.pi * hertz * time) + 0.05 * noise
    return sound


def write_corpus(folder: Path, *, seconds: float = 0.2, each: int = 2) -> Path:
    """Writes a CSV of six speakers with low and high tones, and partitions; returns its path.

    Args:
        folder: Folder for the files; created if missing.
        seconds: Length of a tone.
        each: Number of tones for each speaker and pitch.
    """
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"file,speaker,{TASK},partition"]
    for speaker, number, name in _tones(each):
        file = f"s{speaker}-{number}-{name}.wav"
        seed = 100 * speaker + 2 * number + (name == "high")
        # No two speakers share a tone: the same recording under two speakers is an error.
        hertz = PITCHES[name] * (1 + 0.03 * speaker + 0.005 * number)
        soundfile.write(folder / file, tone(hertz, seconds, seed), RATE)
        lines.append(f"{file},s{speaker},{name},{PARTITIONS[speaker]}")
    path = folder / "tones.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _tones(each: int) -> Iterator[tuple[int, int, str]]:
    for speaker in range(SPEAKERS):
        for number in range(each):
            for name in PITCHES:
                yield speaker, number, name


def small_model(num_classes: int = 2) -> Any:  # noqa: ANN401 - convrnn loads when it is called
    """The config of a model on 8 features with every kind of layer and a few hundred parameters."""
    from convrnn.models.config import SequenceClassifierConfig

    return SequenceClassifierConfig.model_validate(
        {
            "in_features": 8,
            "num_classes": num_classes,
            "front_end": [
                {
                    "features": {"kind": "conv", "out_features": 6, "kernel_size": 3},
                    "pool": {"kernel_size": 2, "stride": 2},
                },
                {
                    "features": {
                        "kind": "convrnn",
                        "out_features": 4,
                        "kernel_size": 2,
                        "bidirectional": True,
                        "projection": True,
                        "hidden_size": 3,
                    }
                },
            ],
            "recurrent": {"hidden_size": 5},
            "dense_features": 6,
            "last_frames": 4,
        }
    )


def write_bundle(folder: Path) -> Path:
    """Saves an untrained small model that standardises with its own statistics; returns its folder."""
    import torch

    from convrnn.models.bundle import Bundle, BundleConfig
    from convrnn.models.classifier import SequenceClassifier

    torch.manual_seed(0)
    config = BundleConfig.model_validate(
        {
            "corpus": "csv:tones.csv",
            "task": TASK,
            "classes": ["high", "low"],
            "name": "small",
            "setting": "emotion",
            "model": small_model(),
            "features": {"kind": "logmel", "sample_rate": RATE, "num_bands": 8},
            "normalise": "corpus",
            "statistics": {"mean": [float(i) for i in range(8)], "std": [2.0] * 8},
        }
    )
    Bundle(config, SequenceClassifier(config.model)).save(folder / "bundle")
    return folder / "bundle"


def write_run(folder: Path) -> tuple[Path, Path]:
    """Trains a small model, and another that stops after its first epoch; returns the folders of the two runs."""
    from convrnn.corpora.registry import open_corpus
    from convrnn.corpora.splits import make_splits
    from convrnn.features.logmel import LogMelConfig
    from convrnn.training.config import TrainingConfig
    from convrnn.training.epochs import EpochReport
    from convrnn.training.fit import run
    from convrnn.training.spec import RunSpec

    corpus = open_corpus(f"csv:{write_corpus(folder / 'corpus')}").for_task(TASK)
    [split] = make_splits(corpus, "partitions")

    def spec(seed: int) -> RunSpec:
        return RunSpec(
            corpus="tones",
            fingerprint=corpus.fingerprint,
            task=TASK,
            classes=corpus.classes,
            split=split,
            features=LogMelConfig(sample_rate=RATE, num_bands=8),
            normalise="speaker",
            model_name="small",
            setting="emotion",
            model=small_model(),
            training=TrainingConfig(batch_size=4, max_epochs=2),
            seed=seed,
        )

    def stop(_: EpochReport) -> None:
        raise InterruptedError

    cache, runs = folder / "cache", folder / "runs"
    finished = run(spec(0), corpus, cache_dir=cache, runs_dir=runs).directory
    half = spec(1)
    try:
        run(half, corpus, on_epoch=stop, cache_dir=cache, runs_dir=runs)
    except InterruptedError:
        return finished, runs / f"{half.hash}.partial"
    raise AssertionError("the run should have stopped after its first epoch")


def sound(kind: str, encoding: str, *, channels: int = 1, rate: int = RATE) -> bytes:
    """A short tone as an audio file of this kind and encoding."""
    import soundfile

    stream = io.BytesIO()
    # The same number of milliseconds at every rate.
    samples = np.repeat(tone(440, 0.06 * rate / RATE, 0)[:, None], channels, axis=1)
    soundfile.write(stream, samples, rate, format=kind, subtype=encoding)
    return stream.getvalue()
