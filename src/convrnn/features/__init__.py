"""Files to normalised feature arrays.

:mod:`~convrnn.features.audio` reads audio. :mod:`~convrnn.features.registry` lists the features that are computed from
it, each a subclass of :class:`~convrnn.features.base.AudioFeatures` in a module of its own
(:mod:`~convrnn.features.logmel`, :mod:`~convrnn.features.egemaps`, :mod:`~convrnn.features.waveform`).
:mod:`~convrnn.features.frames` reads those that other programs computed. :mod:`~convrnn.features.config` reads any of
them from JSON.
:mod:`~convrnn.features.extract` computes them from a file or from samples, :mod:`~convrnn.features.store` keeps them on
disk, and :mod:`~convrnn.features.normalise` standardises them.
"""
