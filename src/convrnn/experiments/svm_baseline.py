"""A baseline for the networks: a linear support vector machine on utterance statistics, under the same protocol."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from convrnn.corpora.balancing import balance
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import Argument, InputError
from convrnn.experiments.outcomes import Outcome
from convrnn.features.normalise import NormalisePolicy, Normaliser

NAME = "linear SVM"
"""The baseline's row in the table."""

COMPLEXITIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The values of C that are tried on the validation set."""


def check_policy(normalise: NormalisePolicy) -> None:
    """Refuse the policy under which the baseline's inputs are constant.

    Raises:
        InputError: for ``"utterance"``, which makes every utterance's means 0 and deviations 1.
    """
    if normalise == "utterance":
        raise InputError(
            "the inputs of the linear SVM are means and deviations over an utterance, which ",
            Argument("normalise", "utterance"),
            " makes 0 and 1 for every file; choose ",
            Argument("normalise", "speaker"),
            " or corpus, or leave out ",
            Argument("svm_baseline"),
        )


def linear_svm(
    features: Sequence[NDArray[np.float32]],
    corpus: LabelledCorpus,
    splits: Sequence[Split],
    *,
    normalise: NormalisePolicy,
    seeds: Sequence[int],
) -> list[Outcome]:
    """Train and test the baseline on every split with every seed.

    Each utterance becomes the mean and the standard deviation over time of its normalised features. Training rows are
    balanced as for the networks with the same seed, and the scaling is fitted on them. C is the value of
    :data:`COMPLEXITIES` with the lowest misclassification on the validation set (the smallest of equals), and the test
    set is used once.

    Args:
        features: per row of the corpus ``[frames, features]``, not normalised.
        corpus: the corpus.
        splits: the folds.
        normalise: the policy of the networks.
        seeds: the seeds of the networks.

    Returns:
        One outcome per seed and fold, model :data:`NAME`.

    Raises:
        InputError: as :func:`check_policy`, or for a class without training example.
    """
    check_policy(normalise)
    found = []
    for fold, split in enumerate(splits):
        normaliser = Normaliser(normalise).fit(features[row] for row in split.rows(corpus)["train"])
        functionals = utterance_functionals(normaliser.transform(features, corpus.table["speaker"].tolist()))
        found += [fit_svm(NAME, functionals, corpus, split, fold=fold, seed=seed) for seed in seeds]
    return found


def utterance_functionals(features: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Mean and standard deviation over time: of utterances ``[frames, n]`` each, ``[utterances, 2 n]``.

    Example:
        >>> utterance_functionals([np.array([[1.0], [3.0]], np.float32)]).tolist()
        [[2.0, 1.0]]
    """
    return np.array([np.concatenate([x.mean(axis=0), x.std(axis=0)]) for x in features], dtype=np.float64)


def fit_svm(
    name: str, functionals: NDArray[np.float64], corpus: LabelledCorpus, split: Split, *, fold: int, seed: int
) -> Outcome:
    """Train a linear support vector machine on one split and test it once.

    Args:
        name: the outcome's model.
        functionals: ``[rows of the corpus, n]``.
        corpus: the corpus.
        split: the speakers for training, validation and test.
        fold: the split's position.
        seed: decides the balancing, and the order in which the solver takes the examples.

    Raises:
        InputError: for a split that does not fit the corpus.
    """
    classes, labels, rows = corpus.classes, corpus.labels, split.rows(corpus)
    numbers = corpus.class_indices
    began = time.perf_counter()
    train = np.array(rows["train"])[balance(numbers[rows["train"]].tolist(), seed)]
    machine = _select(functionals, numbers, train, rows["validation"], seed)
    seconds = time.perf_counter() - began
    svm = machine[-1]
    speakers = corpus.table["speaker"].tolist()
    return Outcome(
        model=name,
        seed=seed,
        fold=fold,
        speakers=tuple(speakers[row] for row in rows["test"]),
        truth=tuple(labels[row] for row in rows["test"]),
        prediction=tuple(classes[number] for number in machine.predict(functionals[rows["test"]])),
        parameters=svm.coef_.size + svm.intercept_.size,
        seconds=seconds,
    )


def _select(
    functionals: NDArray[np.float64],
    numbers: NDArray[np.int64],
    train: NDArray[np.int64],
    validation: Sequence[int],
    seed: int,
) -> Pipeline:
    def fitted(complexity: float) -> Pipeline:
        # The primal problem has as many unknowns as features, and its solver converges for every C.
        svm = LinearSVC(C=complexity, dual=False, random_state=seed, max_iter=10_000)
        return make_pipeline(StandardScaler(), svm).fit(functionals[train], numbers[train])

    def error(machine: Pipeline) -> float:
        return float(np.mean(machine.predict(functionals[validation]) != numbers[validation]))

    return min((fitted(complexity) for complexity in COMPLEXITIES), key=error)
