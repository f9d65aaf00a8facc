"""A saved model, with what its run directory says about its training."""

from dataclasses import dataclass
from pathlib import Path

from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from convrnn.experiments.arguments import check_policy
from convrnn.experiments.progress import Progress
from convrnn.features.normalise import NormalisePolicy
from convrnn.json_files import read_json, validate
from convrnn.models.bundle import Bundle
from convrnn.training.run_directory import BEST, PARTIAL, RESULT, SPEC, RunFiles
from convrnn.training.spec import RunSpec


@dataclass(frozen=True, slots=True, eq=False)
class SavedModel:
    """A saved model, and the spec of the run that trained it if that is known.

    Attributes:
        bundle: features, normalisation and network.
        spec: what was trained, and on which speakers; None if the model is not in its run directory.
    """

    bundle: Bundle
    spec: RunSpec | None

    @classmethod
    def open(cls, path: Path | str) -> "SavedModel":
        """The saved model in the folder ``path``, or in the run directory ``path``.

        Raises:
            InputError: if there is no saved model, if it is damaged, of another version or not as its finished run
                wrote it, or if the run's spec is damaged.
        """
        path = Path(path)
        if not (path / "config.json").exists() and (path / BEST / "config.json").exists():
            path = path / BEST
        run = path.absolute().parent
        # The spec says which speakers the model was trained on, and the result has its digest.
        is_finished = path.absolute().name == BEST and not run.name.endswith(PARTIAL)
        if is_finished and any((run / name).exists() for name in (RESULT, SPEC)):
            RunFiles(run).check(BEST, SPEC)
        bundle = Bundle.load(path)
        beside = run / SPEC
        if not beside.exists():
            return cls(bundle, None)
        try:
            return cls(bundle, validate(RunSpec, read_json(beside), beside, "the run's spec"))
        except InputError:
            if path.absolute().name == BEST:
                # Only the spec says which speakers the model was trained on.
                raise
            # Elsewhere it may be an unrelated file of the same name.
            return cls(bundle, None)

    def split_of(self, corpus: LabelledCorpus) -> Split | None:
        """The split that the model was trained on, if it is known and this is the corpus it was trained on."""
        if self.spec is None or self.spec.task != corpus.task:
            return None
        if not set(self.spec.split.train) & set(corpus.speakers):
            return None
        try:
            same = corpus.fingerprint == self.spec.fingerprint
        except InputError:
            return None
        return self.spec.split if same else None

    def policy(self, normalise: str | None, progress: Progress) -> NormalisePolicy:
        """The given normalisation policy, or else that of the training; warns if they differ.

        Raises:
            InputError: for a policy that does not exist.
        """
        trained = self.bundle.config.normalise
        policy = trained if normalise is None else check_policy(normalise)
        if policy != trained:
            progress.warning(
                f"the model was trained with features standardised per {trained}, not per {policy}: accuracy can drop "
                f"to chance; train one with features standardised per {policy} instead"
            )
        return policy
