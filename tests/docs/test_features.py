"""The programs of docs/how-to/features.md."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from convrnn.corpora import open_corpus
from convrnn.features import registry
from convrnn.features.registry import Entry
from tones import write_tone

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "features.md"
ARRAYS, ESTIMATOR, MODULE, LINE = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def _corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = []
    for number in range(12):
        write_tone(f"{number}.wav", 600 * (1 + number % 2), seconds=0.5, seed=number)
        rows.append(
            {"file": f"{number}.wav", "speaker": "abcdef"[number // 2], "emotion": ("joy", "anger")[number % 2]}
        )
    pd.DataFrame(rows).to_csv("speech.csv", index=False)


@pytest.mark.usefixtures("_corpus")
def test_arrays_that_the_user_computes():
    names = {}
    exec(ARRAYS, names)  # noqa: S102 - the page is ours
    found = open_corpus("csv:frames.csv")
    assert found.holds_frames
    assert len(found) == 12
    assert np.load("frames/0.npy").shape == (48, 2)
    exec(ESTIMATOR, names)  # noqa: S102 - the page is ours
    assert set(names["classifier"].classes_) == {"joy", "anger"}


def test_a_kind_of_features(monkeypatch):
    module = ModuleType("convrnn.features.energy")
    exec(MODULE, module.__dict__)  # noqa: S102 - the page is ours
    monkeypatch.setitem(sys.modules, "convrnn.features.energy", module)
    [(name, entry)] = eval("{" + LINE + "}", {"Entry": Entry}).items()
    monkeypatch.setattr(registry, "FEATURES", {**registry.FEATURES, name: entry})
    config = entry.load()(sample_rate=8000)
    samples = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    found = config.compute([samples[:5000], samples[5000:]])
    assert found.shape == (98, config.num_features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[1, 0], np.log((samples[80:280] ** 2).mean()), rtol=1e-5)
    with pytest.raises(ValueError, match="less than one frame"):
        config.compute([samples[:100]])
