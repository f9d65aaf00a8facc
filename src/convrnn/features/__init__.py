"""Audio files to normalised feature arrays: :mod:`audio`, :mod:`config`, :mod:`logmel`, :mod:`extract`, :mod:`normalise`, :mod:`store`."""
