"""Labelled speech: one module per corpus, and splits, balancing and checks that work on any of them.

Open a :class:`~convrnn.corpora.corpus.Corpus` with :func:`~convrnn.corpora.registry.open_corpus` or
:meth:`Corpus.from_table <convrnn.corpora.corpus.Corpus.from_table>`, and choose a task with its method ``for_task``.
The result is a :class:`~convrnn.corpora.labelled.LabelledCorpus`: the rows with a label for that task.

- :mod:`~convrnn.corpora.utterances`: the base class of both.
- :mod:`~convrnn.corpora.registry`: the list of all corpora. They are in :mod:`~convrnn.corpora.csv_table`,
  :mod:`~convrnn.corpora.audformat`, :mod:`~convrnn.corpora.emodb`, :mod:`~convrnn.corpora.aibo`,
  :mod:`~convrnn.corpora.agender` and :mod:`~convrnn.corpora.demo`. Aibo and aGender are read with
  :mod:`~convrnn.corpora.listing` and compared with :mod:`~convrnn.corpora.published` numbers.
- :mod:`~convrnn.corpora.splits`: division of speakers into train, validation and test.
- :mod:`~convrnn.corpora.balancing`: classes of equal size (section IV-A).
- :mod:`~convrnn.corpora.check`: a :mod:`~convrnn.corpora.report` on what a corpus holds and what is wrong with it,
  before any training. The rules are in :mod:`~convrnn.corpora.sound`, :mod:`~convrnn.corpora.content`,
  :mod:`~convrnn.corpora.speakers` and :mod:`~convrnn.corpora.labels`, and :mod:`~convrnn.corpora.gate` stops
  experiments on corpora with errors. Files are read by :mod:`~convrnn.corpora.recording`, which stores findings with
  :mod:`~convrnn.corpora.heard` and reads WAV headers with :mod:`~convrnn.corpora.riff`.
- :mod:`~convrnn.corpora.fingerprint`, :mod:`~convrnn.corpora.matching`, :mod:`~convrnn.corpora.coherence`: search for
  copies of a recording.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convrnn.corpora.corpus import Corpus
    from convrnn.corpora.labelled import LabelledCorpus
    from convrnn.corpora.registry import open_corpus

__all__ = ["Corpus", "LabelledCorpus", "open_corpus"]

_MODULES = {"Corpus": "corpus", "LabelledCorpus": "labelled", "open_corpus": "registry"}


def __getattr__(name: str) -> object:
    # pandas takes long to load, and the help texts of commands only need the registry's names.
    if name in _MODULES:
        return getattr(importlib.import_module(f"convrnn.corpora.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'convrnn.corpora' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
