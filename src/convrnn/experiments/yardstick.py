"""A linear support vector machine on utterance statistics, under the protocol of the networks, to compare them with."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from convrnn.corpora.balancing import balance
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from convrnn.experiments.table import Outcome
from convrnn.features.normalise import NormalisePolicy, Normaliser

NAME = "linear SVM"
"""The yardstick's row in the table."""

COMPLEXITIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The values of C that the validation set chooses from."""


def check_policy(normalise: NormalisePolicy) -> None:
    """Refuse the policy that leaves the yardstick nothing to see.

    Raises:
        InputError: for ``"utterance"``, which makes every utterance's means 0 and deviations 1.
    """
    if normalise == "utterance":
        raise InputError(
            "the yardstick sees means and deviations over an utterance, which --normalise utterance makes 0 and 1 for "
            "every file; choose --normalise speaker or corpus, or leave out --yardstick"
        )


def linear_svm(
    features: Sequence[NDArray[np.float32]],
    corpus: Corpus,
    task: str,
    splits: Sequence[Split],
    *,
    normalise: NormalisePolicy,
    seeds: Sequence[int],
) -> list[Outcome]:
    """Train and test the yardstick on every split with every seed.

    Each utterance becomes the mean and the standard deviation over time of its normalised features. Training rows are
    balanced as for the networks with the same seed, the scaling is fitted on them, C comes from :data:`COMPLEXITIES` by
    validation misclassification (the smallest of equals), and the test set is read once.

    Args:
        features: per row of the corpus ``[frames, features]``, not normalised.
        corpus: every row has a label for the task.
        task: the label column.
        splits: the folds.
        normalise: the policy of the networks.
        seeds: the seeds of the networks.

    Returns:
        One outcome per seed and fold, model :data:`NAME`.

    Raises:
        InputError: as :func:`check_policy`, or for a class without training example.
    """
    check_policy(normalise)
    classes = corpus.classes(task)
    labels = corpus.labels(task)
    numbers = np.array([classes.index(label) for label in labels])
    outcomes = []
    for fold, split in enumerate(splits):
        rows = split.rows(corpus)
        functionals = _functionals(features, corpus, rows["train"], normalise)
        for seed in seeds:
            began = time.perf_counter()
            train = np.array(rows["train"])[balance(numbers[rows["train"]].tolist(), seed)]
            machine = _select(functionals, numbers, train, rows["validation"], seed)
            seconds = time.perf_counter() - began
            predicted = machine.predict(functionals[rows["test"]])
            svm = machine[-1]
            outcomes.append(
                Outcome(
                    model=NAME,
                    seed=seed,
                    fold=fold,
                    truth=tuple(labels[row] for row in rows["test"]),
                    prediction=tuple(classes[number] for number in predicted),
                    parameters=svm.coef_.size + svm.intercept_.size,
                    seconds=seconds,
                )
            )
    return outcomes


def _functionals(
    features: Sequence[NDArray[np.float32]], corpus: Corpus, train: Sequence[int], normalise: NormalisePolicy
) -> NDArray[np.float64]:
    normaliser = Normaliser(normalise).fit(features[row] for row in train)
    normalised = normaliser.transform(features, corpus.table["speaker"].tolist())
    return np.array([np.concatenate([x.mean(axis=0), x.std(axis=0)]) for x in normalised], dtype=np.float64)


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
