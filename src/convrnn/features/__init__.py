"""Audio files to normalised feature arrays.

:mod:`~convrnn.features.audio` reads files. :mod:`~convrnn.features.registry` lists the input features, each a subclass
of :class:`~convrnn.features.base.Features` in a module of its own (:mod:`~convrnn.features.logmel`,
:mod:`~convrnn.features.egemaps`), and :mod:`~convrnn.features.config` reads any of them from JSON.
:mod:`~convrnn.features.extract` computes them from a file or from samples, :mod:`~convrnn.features.store` keeps them on
disk, and :mod:`~convrnn.features.normalise` standardises them.
"""
