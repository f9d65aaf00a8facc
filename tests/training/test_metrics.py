import numpy as np
import pytest
import sklearn.metrics

from convrnn.training.metrics import Scores, accuracy, confusion, recalls, ua_recall

TRUTH = [0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2]
PREDICTION = [0, 0, 0, 1, 2, 2, 1, 0, 2, 2, 2, 1]


def test_by_hand():
    assert recalls(TRUTH, PREDICTION, 3) == [0.5, 0.5, 0.75]
    assert ua_recall(TRUTH, PREDICTION, 3) == pytest.approx((0.5 + 0.5 + 0.75) / 3)
    assert accuracy(TRUTH, PREDICTION) == pytest.approx(7 / 12)
    assert confusion(TRUTH, PREDICTION, 3) == [[3, 1, 2], [1, 1, 0], [0, 1, 3]]


def test_against_scikit_learn():
    generator = np.random.default_rng(0)
    truth, prediction = generator.integers(0, 5, size=(2, 400))
    assert ua_recall(truth, prediction, 5) == pytest.approx(sklearn.metrics.balanced_accuracy_score(truth, prediction))
    assert accuracy(truth, prediction) == pytest.approx(sklearn.metrics.accuracy_score(truth, prediction))
    assert confusion(truth, prediction, 5) == sklearn.metrics.confusion_matrix(truth, prediction).tolist()


def test_ua_recall_refuses_a_class_without_example():
    with pytest.raises(ValueError, match=r"there is none of \[2\]"):
        ua_recall([0, 1], [0, 2], 3)


def test_scores_leave_out_what_does_not_exist():
    scores = Scores.of([0, 0, 1], [0, 2, 1], 3)
    assert scores.ua_recall is None
    assert scores.recalls == (0.5, 1.0, None)
    assert scores.accuracy == pytest.approx(2 / 3)
    assert scores.confusion == ((1, 0, 1), (0, 1, 0), (0, 0, 0))


def test_a_class_never_predicted_has_recall_zero():
    scores = Scores.of([0, 1], [0, 0], 2)
    assert scores.recalls == (1.0, 0.0)
    assert scores.ua_recall == 0.5


def test_accuracy_refuses_nothing():
    with pytest.raises(ValueError, match="at least one"):
        accuracy([], [])
