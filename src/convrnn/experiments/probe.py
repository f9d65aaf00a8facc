"""A linear probe: how well a linear classifier does on the features of a trained front end."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.experiments.grid import FinishedRun, GridRun
from convrnn.experiments.outcomes import Outcome
from convrnn.experiments.svm_baseline import fit_svm, utterance_functionals
from convrnn.models.bundle import Bundle
from convrnn.training.run_directory import BEST, RunFiles


def probe_name(model: str) -> str:
    """The row of a model's probe in a table.

    Example:
        >>> probe_name("clstm")
        'probe of clstm'
    """
    return f"probe of {model}"


def linear_probe(
    runs: Sequence[GridRun],
    finished: Sequence[FinishedRun],
    corpus: LabelledCorpus,
    features: Sequence[NDArray[np.float32]],
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Train and test a linear support vector machine on the features of every run's trained front end.

    Each utterance becomes the mean and the standard deviation over time of ``extract_features`` of the run's selected
    model, which is not trained any further. The training speakers are the run's, balanced with the run's seed; C is
    chosen on the validation set, and the test set is used once, as for the baseline
    (:func:`~convrnn.experiments.svm_baseline.linear_svm`).

    Args:
        runs: the grid; models without a front end are skipped, since their features are the input features.
        finished: the result of each.
        corpus: the corpus.
        features: per row of the corpus ``[frames, features]``, not normalised.
        on_progress: called with (runs done, runs in all).

    Returns:
        One outcome per run, named by :func:`probe_name`.

    Raises:
        InputError: for a saved model that is damaged or not as the run wrote it.
    """
    chosen = [pair for pair in zip(runs, finished, strict=True) if pair[0].spec.model.front_end]
    speakers = corpus.table["speaker"].tolist()
    outcomes = []
    for done, (run, found) in enumerate(chosen, start=1):
        RunFiles(found.result.directory).check(BEST)
        bundle = Bundle.load(found.result.directory / BEST)
        extracted = bundle.extract_features(bundle.normaliser().transform(features, speakers))
        outcomes.append(
            fit_svm(
                probe_name(run.spec.model_name),
                utterance_functionals(extracted),
                corpus,
                run.spec.split,
                fold=run.fold,
                seed=run.spec.seed,
            )
        )
        if on_progress is not None:
            on_progress(done, len(chosen))
    return outcomes
