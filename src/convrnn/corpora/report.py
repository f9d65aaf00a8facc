"""The result of a check as plain data."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]

NO_PARTITION = "none"
"""Partition of rows without one, in the tables."""


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong.

    Attributes:
        severity: ``"error"`` where results would be wrong or a run would stop, else ``"warning"``.
        kind: A fixed word such as ``"silence"``, by which defects can be grouped.
        message: One sentence that names the utterance, speaker or class.
    """

    severity: Severity
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of :func:`~convrnn.corpora.check.check_corpus` as plain data.

    In every table a partition is ``"train"``, ``"validation"``, ``"test"`` or ``"none"``; those without rows are left
    out.

    Attributes:
        corpus: The corpus as the user gave it.
        synthetic: Whether the speech is synthetic.
        utterances: Number of rows by partition.
        speakers: Number of speakers by partition.
        seconds: Duration of the readable utterances by partition: ``total``, ``min``, ``median``, ``max``.
        sample_rates: Number of files by sample rate in Hz, from low to high.
        classes: Number of rows by task, class and partition.
        defects: Errors first, each in table order.
        frames: For arrays of frames, the number of frames by partition, like ``seconds``.
        num_features: For arrays of frames, the number of files by features per frame.
    """

    corpus: str
    synthetic: bool
    utterances: dict[str, int]
    speakers: dict[str, int]
    seconds: dict[str, dict[str, float]]
    sample_rates: dict[int, int]
    classes: dict[str, dict[str, dict[str, int]]]
    defects: list[Defect]
    frames: dict[str, dict[str, float]] = field(default_factory=dict)
    num_features: dict[int, int] = field(default_factory=dict)

    @property
    def errors(self) -> list[Defect]:
        """The defects that would make results wrong."""
        return [defect for defect in self.defects if defect.severity == "error"]

    @property
    def warnings(self) -> list[Defect]:
        """The other defects."""
        return [defect for defect in self.defects if defect.severity == "warning"]

    def to_dict(self) -> dict[str, Any]:
        """The report as dictionaries, lists, text and numbers, ready for :func:`json.dumps`.

        ``frames`` and ``num_features`` are left out if the corpus has no arrays of frames.
        """
        absent = () if self.num_features else ("frames", "num_features")
        return {name: value for name, value in asdict(self).items() if name not in absent}
