"""What a check found, as plain data."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

NO_PARTITION = "none"
"""The name, in the tables, of rows that have no partition."""


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
    """What :func:`check_corpus` found, as plain data.

    In every table ``partition`` is ``"train"``, ``"validation"``, ``"test"`` or ``"none"``, and only those that occur
    are there.

    Attributes:
        corpus: The corpus as the user gave it.
        synthetic: True where no person spoke.
        utterances: Partition to number of rows.
        speakers: Partition to number of speakers.
        seconds: Partition to the duration of its readable utterances: ``total``, ``min``, ``median``, ``max``.
        sample_rates: Hz to number of files, from low to high.
        classes: Task to class to partition to number of rows.
        defects: Errors first, each in table order.
    """

    corpus: str
    synthetic: bool
    utterances: dict[str, int]
    speakers: dict[str, int]
    seconds: dict[str, dict[str, float]]
    sample_rates: dict[int, int]
    classes: dict[str, dict[str, dict[str, int]]]
    defects: list[Defect]

    @property
    def errors(self) -> list[Defect]:
        """The defects that would make results wrong."""
        return [defect for defect in self.defects if defect.severity == "error"]

    @property
    def warnings(self) -> list[Defect]:
        """The other defects."""
        return [defect for defect in self.defects if defect.severity == "warning"]

    def to_dict(self) -> dict[str, Any]:
        """The report as dictionaries, lists, text and numbers, ready for :func:`json.dumps`."""
        return asdict(self)
