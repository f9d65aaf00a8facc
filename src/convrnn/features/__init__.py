"""Audio files to normalised feature arrays.

:mod:`audio` reads files, :mod:`config` says what to compute, :mod:`logmel`, :mod:`egemaps` and :mod:`extract` compute
it, :mod:`store` keeps it on disk, and :mod:`normalise` scales it.
"""
