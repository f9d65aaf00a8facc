"""A small corpus on disk: tones of two pitches by twelve speakers."""

import numpy as np
import pytest
import soundfile

from convrnn.corpora.csv_table import open_csv
from workers import in_threads

RATE = 8000


@pytest.fixture(scope="module", autouse=True)
def workers():
    """Trains runs in this process; ``tests/cli/test_compare.py`` tests worker processes."""
    with in_threads():
        yield


@pytest.fixture(scope="session")
def all_tones(tmp_path_factory):
    """Speakers s00 to s11, each with three low and one high tone of about 0.3 s; six train, two validate, four test."""
    folder = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(3)
    lines = ["file,speaker,pitch,partition,other"]
    for speaker in range(12):
        partition = "train" if speaker < 6 else "validation" if speaker < 8 else "test"
        for number, name in enumerate(("low", "low", "low", "high")):
            time = np.arange(int(generator.uniform(0.25, 0.35) * RATE)) / RATE
            # All clips begin alike; otherwise nothing would distinguish the two pitches after standardising.
            hertz = np.where(time < 0.1, 700, 300 if name == "low" else 1500)
            noise = 0.05 * generator.standard_normal(len(time))
            file = f"s{speaker:02}-{number}.wav"
            soundfile.write(folder / file, 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / RATE) + noise, RATE)
            other = "" if number == 0 else "x" if speaker < 8 else "y"
            lines.append(f"{file},s{speaker:02},{name},{partition},{other}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return open_csv(folder / "data.csv", name="tones")


@pytest.fixture(scope="session")
def tones(all_tones):
    """The same corpus with the pitch as the label."""
    return all_tones.for_task("pitch")
