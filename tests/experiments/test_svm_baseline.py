import numpy as np
import pytest

from convrnn.corpora.splits import make_splits
from convrnn.errors import InputError
from convrnn.experiments import svm_baseline
from convrnn.experiments.svm_baseline import NAME, linear_svm
from convrnn.features.extract import extract_features
from convrnn.features.logmel import LogMelConfig


@pytest.fixture(scope="module")
def features(tones):
    return [extract_features(segment, LogMelConfig(sample_rate=8000)) for segment in tones.segments()]


@pytest.mark.parametrize("policy", ["speaker", "corpus"])
def test_it_learns_an_easy_task(tones, features, policy):
    splits = make_splits(tones, "folds:3")
    found = linear_svm(features, tones, splits, normalise=policy, seeds=(0, 1))
    assert [(one.model, one.seed, one.fold) for one in found] == [
        (NAME, seed, fold) for fold in range(3) for seed in (0, 1)
    ]
    assert all(one.truth == one.prediction for one in found)
    assert sum(len(one.truth) for one in found) == 2 * len(tones)
    assert found[0].parameters == 2 * 26 + 1


def test_test_utterances_do_not_influence_the_model(tones, features):
    [split] = make_splits(tones, "partitions")
    first, high = (split.rows(tones)["test"][position] for position in (0, 3))
    changed = list(features)
    changed[first] = features[high]
    # Under "corpus" nothing is standardised over test frames, so only the changed utterance's prediction may change.
    before, after = (
        linear_svm(x, tones, [split], normalise="corpus", seeds=(0,))[0].prediction for x in (features, changed)
    )
    assert before[0] == "low"
    assert after == ("high", *before[1:])


def test_c_is_chosen_on_validation_rows_and_the_svm_trained_on_training_rows(tones, features, monkeypatch):
    seen = []

    def record(functionals, numbers, train, validation, seed):
        seen.append((set(train.tolist()), sorted(validation), seed))
        return select(functionals, numbers, train, validation, seed)

    select = svm_baseline._select
    monkeypatch.setattr(svm_baseline, "_select", record)
    [split] = make_splits(tones, "partitions")
    rows = split.rows(tones)
    linear_svm(features, tones, [split], normalise="speaker", seeds=(2,))
    assert seen == [(set(rows["train"]), sorted(rows["validation"]), 2)]


def test_the_same_seed_gives_the_same_predictions(tones, features):
    noisy = [x + 30 * np.random.default_rng(len(x)).normal(size=x.shape) for x in features]
    split = make_splits(tones, "random")
    first, second = (linear_svm(noisy, tones, split, normalise="corpus", seeds=(3,)) for _ in range(2))
    assert first[0].prediction == second[0].prediction


def test_rows_without_a_label_are_left_out(all_tones, features):
    corpus = all_tones.for_task("other")
    kept = [x for x, label in zip(features, all_tones.table["other"], strict=True) if label is not None]
    [one] = linear_svm(kept, corpus, make_splits(corpus, "random"), normalise="corpus", seeds=(0,))
    assert set(one.prediction) <= {"x", "y"}
    assert len(one.truth) == len(one.prediction) > 0


def test_a_policy_that_leaves_nothing_to_learn_is_refused(tones, features):
    with pytest.raises(InputError, match="normalise='utterance' makes 0 and 1"):
        linear_svm(features, tones, [], normalise="utterance", seeds=(0,))
