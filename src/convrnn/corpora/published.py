"""Comparing a corpus with the published counts."""

from collections.abc import Mapping

from convrnn.corpora.utterances import Remark


def differing_counts(
    what: str, found: Mapping[str, int], published: Mapping[str, int], *, task: str | None = None
) -> list[Remark]:
    """A remark on counts that differ from the published ones, if there are any.

    Args:
        what: ``"utterances"``, ``"speakers"`` or ``"classes"``; also the end of the remark's kind.
        found: Count of each name; a missing name counts as 0.
        published: Published count of each name.
        task: The task that the counts concern; None for all.

    Example:
        >>> [remark] = differing_counts("speakers", {"train": 25}, {"train": 26, "test": 25})
        >>> remark.kind, remark.message
        ('published-speakers', 'speakers differ from the published counts: train has 25, not 26; test has 0, not 25')
    """
    told = [f"{name} has {found.get(name, 0)}, not {count}" for name, count in published.items()]
    told = [words for words, name in zip(told, published, strict=True) if found.get(name, 0) != published[name]]
    whose = what if task is None else f"{what} of {task}"
    message = f"{whose} differ from the published counts: {'; '.join(told)}"
    return [Remark(f"published-{what}", message, task)] if told else []
