"""The list of corpora, and opening one by the name that a user gives.

To add one, write a module with a function that opens it, and add a line to :data:`CORPORA`. Nothing heavy is
imported here, so that a command can list the names at once.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from convrnn.cache import default_cache_dir
from convrnn.errors import InputError

if TYPE_CHECKING:
    from convrnn.corpora.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of corpus.

    Attributes:
        module: Module in this package that opens it.
        function: The function in it. With a path it is called as ``function(path, name=...)``, without one as
            ``function(cache_dir, on_progress)``.
        about: Description for ``--help``.
        has_path: Whether the user gives a path.
    """

    module: str
    function: str
    about: str
    has_path: bool = True

    def load(self) -> "Callable[..., Corpus]":
        """Imports the function."""
        found: Callable[..., Corpus] = getattr(importlib.import_module(f"convrnn.corpora.{self.module}"), self.function)
        return found


CORPORA: Mapping[str, Entry] = MappingProxyType(
    {
        "csv": Entry(
            "csv_table",
            "open_csv",
            "a table with columns file for audio or frames for .npy arrays, speaker, labels, optional partition, "
            "start, end; separated by commas, semicolons or tabs; files relative to the CSV or absolute",
        ),
        "audformat": Entry("audformat", "open_audformat", "a database in audformat, the folder with db.yaml"),
        "emodb": Entry("emodb", "open_emodb", "its original folder"),
        "aibo": Entry("aibo", "open_aibo", "FAU-Aibo's original folder"),
        "agender": Entry("agender", "open_agender", "its original folder"),
        "demo": Entry("demo", "open_demo", "synthetic speech, made on first use", has_path=False),
    }
)
"""All corpora by kind."""


def corpus_forms() -> dict[str, str]:
    """The ways to name a corpus, ``kind:PATH`` or the kind alone, with a description of each.

    Example:
        >>> list(corpus_forms())
        ['csv:PATH', 'audformat:PATH', 'emodb:PATH', 'aibo:PATH', 'agender:PATH', 'demo']
    """
    return {f"{kind}:PATH" if entry.has_path else kind: entry.about for kind, entry in CORPORA.items()}


def open_corpus(spec: str, on_progress: Callable[[int, int], None] | None = None) -> "Corpus":
    """Opens the corpus that ``spec`` names.

    Args:
        spec: One of :data:`CORPORA`, such as ``"csv:data.csv"`` (a table of your own, see
            :func:`~convrnn.corpora.csv_table.open_csv`), ``"audformat:PATH"``, ``"emodb:PATH"`` or ``"demo"``.
        on_progress: Called with (utterances done, total) while a corpus is synthesised.

    Raises:
        InputError: If ``spec`` names no corpus, or if the corpus cannot be read.

    Example:
        >>> open_corpus("timit")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: unknown corpus 'timit'; allowed: csv:PATH, audformat:PATH, emodb:PATH, aibo:PATH, ...
    """
    kind, colon, path = spec.partition(":")
    entry = CORPORA.get(kind)
    if entry is not None and not entry.has_path and not colon:
        return entry.load()(default_cache_dir(), on_progress)
    if entry is None or not entry.has_path:
        hint = f" (did you mean csv:{spec}?)" if spec.lower().endswith(".csv") else ""
        raise InputError(f"unknown corpus {spec!r}{hint}; allowed: {', '.join(corpus_forms())}")
    if not path:
        raise InputError(f"corpus {spec!r} has no path; write {kind}:PATH")
    return entry.load()(Path(path).expanduser(), name=spec)
