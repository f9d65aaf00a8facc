"""Labelled speech. One module per corpus, all giving the same table; splits, balancing and checks on that table.

- :mod:`~convrnn.corpora.corpus`: the :class:`~convrnn.corpora.corpus.Corpus` table.
- :mod:`~convrnn.corpora.registry`: :func:`~convrnn.corpora.registry.open_corpus`, from ``csv:PATH`` to a corpus.
- :mod:`~convrnn.corpora.csv_table`, :mod:`~convrnn.corpora.emodb`, :mod:`~convrnn.corpora.aibo`,
  :mod:`~convrnn.corpora.agender`, :mod:`~convrnn.corpora.demo`: the corpora. Aibo and aGender are read with
  :mod:`~convrnn.corpora.listing` and held against :mod:`~convrnn.corpora.published` numbers.
- :mod:`~convrnn.corpora.splits`: speakers into train, validation and test.
- :mod:`~convrnn.corpora.balancing`: classes of equal size (section IV-A).
- :mod:`~convrnn.corpora.check`: what a corpus holds and what is wrong with it, before any training, as a
  :mod:`~convrnn.corpora.report`. Its rules are in :mod:`~convrnn.corpora.sound`, :mod:`~convrnn.corpora.content`,
  :mod:`~convrnn.corpora.speakers` and :mod:`~convrnn.corpora.labels`, and :mod:`~convrnn.corpora.gate` keeps unsound
  corpora from being used. It listens with :mod:`~convrnn.corpora.recording`, which keeps what it heard in
  :mod:`~convrnn.corpora.heard` and reads WAV headers with :mod:`~convrnn.corpora.riff`.
- :mod:`~convrnn.corpora.fingerprint`, :mod:`~convrnn.corpora.matching`, :mod:`~convrnn.corpora.coherence`: how the same
  recording is found again.
"""
