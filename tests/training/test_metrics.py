import audmetric
import numpy as np
import pytest
import sklearn.metrics

from convrnn.training.metrics import Scores, accuracy, confusion, recalls, ua_recall

TRUTH = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
PREDICTION = [0, 0, 0, 1, 2, 2, 1, 0, 2, 2, 2, 1]


def test_metrics_agree_with_a_calculation_by_hand():
    assert recalls(TRUTH, PREDICTION, 3) == [0.5, 0.5, 0.75]
    assert ua_recall(TRUTH, PREDICTION, 3) == pytest.approx((0.5 + 0.5 + 0.75) / 3)
    assert accuracy(TRUTH, PREDICTION) == pytest.approx(7 / 12)
    assert confusion(TRUTH, PREDICTION, 3) == [[3, 1, 2], [1, 1, 0], [0, 1, 3]]


def test_metrics_agree_with_scikit_learn():
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 5, size=(2, 400))
    assert ua_recall(truth, prediction, 5) == pytest.approx(sklearn.metrics.balanced_accuracy_score(truth, prediction))
    assert accuracy(truth, prediction) == pytest.approx(sklearn.metrics.accuracy_score(truth, prediction))
    assert confusion(truth, prediction, 5) == sklearn.metrics.confusion_matrix(truth, prediction).tolist()


@pytest.mark.parametrize("num_classes", [2, 7, 200])
@pytest.mark.parametrize("examples", [5, 3000])
def test_same_bits_as_audmetric(num_classes, examples):
    rng = np.random.default_rng(num_classes)
    truth, noise = rng.integers(0, num_classes, size=(2, examples))
    prediction = np.where(rng.random(examples) < 0.6, truth, noise)
    labels = list(range(num_classes))
    scores = Scores.of(truth, prediction, num_classes)
    present = set(truth.tolist())
    expected = audmetric.recall_per_class(truth, prediction, labels)
    assert scores.recalls == tuple(expected[label] if label in present else None for label in labels)
    assert scores.accuracy == audmetric.accuracy(truth, prediction)
    assert [list(row) for row in scores.confusion] == audmetric.confusion_matrix(truth, prediction, labels)
    average = audmetric.unweighted_average_recall(truth, prediction, labels)
    assert scores.ua_recall == (average if len(present) == num_classes else None)


def test_ua_recall_needs_an_example_of_every_class():
    with pytest.raises(ValueError, match=r"there is none of \[2\]"):
        ua_recall([0, 1], [0, 2], 3)


def test_undefined_scores_are_left_out():
    scores = Scores.of([0, 0, 1], [0, 2, 1], 3)
    assert scores.ua_recall is None
    assert scores.recalls == (0.5, 1.0, None)
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.confusion == ((1, 0, 1), (0, 1, 0), (0, 0, 0))


def test_a_class_that_is_never_predicted_has_recall_zero():
    scores = Scores.of([0, 1], [0, 0], 2)
    assert scores.recalls == (1.0, 0.0)
    assert scores.ua_recall == 0.5


def test_accuracy_needs_an_example():
    with pytest.raises(ValueError, match="at least one"):
        accuracy([], [])
