"""Labelled speech: one module per corpus, all giving the same :class:`~convrnn.corpora.corpus.Corpus` table; splits, balancing, checks."""
