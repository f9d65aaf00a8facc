"""Small corpora: tables without audio, and noise on disk."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from convrnn.corpora.corpus import Corpus


@pytest.fixture
def table_corpus() -> Callable[..., Corpus]:
    """Makes a corpus from tuples (speaker, label, count) or (speaker, label, count, partition)."""

    def build(*groups: Sequence) -> Corpus:
        rows = [(speaker, label, *rest) for speaker, label, count, *rest in groups for _ in range(count)]
        columns = {
            "file": [f"{number}.wav" for number in range(len(rows))],
            "speaker": [row[0] for row in rows],
            "partition": [row[2] if len(row) > 2 else None for row in rows],
            "task": [row[1] for row in rows],
        }
        return Corpus.from_table(pd.DataFrame(columns), name="small")

    return build


@pytest.fixture
def write_noise(tmp_path: Path) -> Callable[..., Path]:
    """Writes quiet noise to a file in tmp_path; its name decides the samples."""

    def write(name: str, *, seconds: float = 0.2, rate: int = 8000, seed: int | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(list(name.encode()) if seed is None else seed)
        samples = rng.integers(-9000, 9000, round(seconds * rate), dtype=np.int16)
        soundfile.write(path, samples, rate)
        return path

    return write
