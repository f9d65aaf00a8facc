"""The probe: a linear SVM on the features of a trained front end."""

import numpy as np
import pytest

from convrnn.corpora.splits import make_splits
from convrnn.experiments.grid import plan, run_grid
from convrnn.experiments.probe import linear_probe, probe_name
from convrnn.experiments.svm_baseline import fit_svm, utterance_functionals
from convrnn.features.logmel import LogMelConfig
from convrnn.features.store import FeatureStore
from convrnn.models.bundle import Bundle
from convrnn.training.config import TrainingConfig
from convrnn.training.run_directory import BEST


@pytest.fixture(scope="module")
def grid(tones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe")
    runs = plan(
        tones,
        make_splits(tones, "folds:2"),
        models=["baseline", "conv"],
        setting="paralinguistic",
        seeds=[1],
        features=LogMelConfig(sample_rate=8000),
        training=TrainingConfig(max_epochs=2, batch_size=8),
    )
    finished = run_grid(runs, tones, cache_dir=folder, runs_dir=folder / "runs")
    store = FeatureStore(folder / "features", LogMelConfig(sample_rate=8000))
    return runs, finished, [store.load(segment) for segment in tones.segments()]


def test_every_model_with_a_front_end_is_probed_on_every_fold(tones, grid):
    told = []
    outcomes = linear_probe(*grid[:2], tones, grid[2], on_progress=lambda *progress: told.append(progress))
    assert [(o.model, o.seed, o.fold) for o in outcomes] == [(probe_name("conv"), 1, 0), (probe_name("conv"), 1, 1)]
    assert sum(len(o.truth) for o in outcomes) == len(tones)
    assert outcomes[0].parameters == 2 * 100 + 1
    assert told == [(1, 2), (2, 2)]


def test_the_probe_sees_only_the_front_ends_features(tones, grid):
    runs, finished, raw = grid
    [run, found] = next(pair for pair in zip(runs, finished, strict=True) if pair[0].spec.model_name == "conv")
    bundle = Bundle.load(found.result.directory / BEST)
    normalised = bundle.normaliser().transform(raw, tones.table["speaker"].tolist())
    by_hand = np.array(
        [
            np.concatenate([y.mean(0), y.std(0)])
            for x in normalised
            for y in [bundle.extract_features([x])[0].astype(np.float64)]
        ]
    )
    assert utterance_functionals(bundle.extract_features(normalised)) == pytest.approx(by_hand, rel=1e-4, abs=1e-5)
    expected = fit_svm("m", by_hand, tones, run.spec.split, fold=0, seed=1)
    [outcome, *_] = linear_probe(runs, finished, tones, raw)
    assert outcome.prediction == expected.prediction
