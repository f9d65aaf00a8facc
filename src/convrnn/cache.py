"""Where things that can be made again are kept."""

import os
from pathlib import Path


def default_cache_dir() -> Path:
    """The folder for extracted features and synthesised speech.

    ``$CONVRNN_CACHE`` if set, else ``$XDG_CACHE_HOME/convrnn``, else ``~/.cache/convrnn``. It may not exist yet.

    Example:
        >>> import os
        >>> os.environ["CONVRNN_CACHE"] = "somewhere"
        >>> default_cache_dir().name
        'somewhere'
        >>> del os.environ["CONVRNN_CACHE"]
    """
    if own := os.environ.get("CONVRNN_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convrnn"
