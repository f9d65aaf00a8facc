"""From what the user types to a corpus."""

from collections.abc import Callable
from pathlib import Path

from convrnn.cache import default_cache_dir
from convrnn.corpora.agender import open_agender
from convrnn.corpora.aibo import open_aibo
from convrnn.corpora.corpus import Corpus
from convrnn.corpora.csv_table import open_csv
from convrnn.corpora.emodb import open_emodb
from convrnn.errors import InputError

CORPORA = ("csv:PATH", "emodb:PATH", "aibo:PATH", "agender:PATH", "demo")


def open_corpus(spec: str, on_progress: Callable[[int, int], None] | None = None) -> Corpus:
    """Open the corpus that ``spec`` names.

    Args:
        spec: ``"csv:PATH"`` (a table of one's own, see :func:`~convrnn.corpora.csv_table.open_csv`), ``"emodb:PATH"``
            (the Berlin Database of Emotional Speech, see :func:`~convrnn.corpora.emodb.open_emodb`), ``"aibo:PATH"``
            (FAU-Aibo, see :func:`~convrnn.corpora.aibo.open_aibo`), ``"agender:PATH"`` (aGender, see
            :func:`~convrnn.corpora.agender.open_agender`) or ``"demo"`` (speech synthesised on first use, kept in
            :func:`~convrnn.cache.default_cache_dir`).
        on_progress: Called with (utterances done, utterances in all) where a corpus has to be made first.

    Raises:
        InputError: If ``spec`` names no corpus, or if the corpus cannot be read.

    Example:
        >>> open_corpus("timit")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: unknown corpus 'timit'; allowed: csv:PATH, emodb:PATH, aibo:PATH, agender:PATH, demo
    """
    kind, _, path = spec.partition(":")
    if spec == "demo":
        # Only this corpus needs the synthesiser, which is an extra of its own.
        from convrnn.corpora.demo import open_demo

        return open_demo(default_cache_dir(), on_progress)
    openers = {"csv": open_csv, "emodb": open_emodb, "aibo": open_aibo, "agender": open_agender}
    if kind in openers and not path:
        raise InputError(f"corpus {spec!r} has no path; write {kind}:PATH")
    if kind not in openers:
        hint = f" (did you mean csv:{spec}?)" if spec.lower().endswith(".csv") else ""
        raise InputError(f"unknown corpus {spec!r}{hint}; allowed: {', '.join(CORPORA)}")
    return openers[kind](Path(path).expanduser(), name=spec)
