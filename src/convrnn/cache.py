"""Where things that can be made again are kept."""

import contextlib
import os
from collections.abc import Iterator
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


@contextlib.contextmanager
def cache_folder(folder: Path | str | None) -> Iterator[Path]:
    """Use another cache folder within the context, also in processes that are started there.

    Args:
        folder: created when needed; None changes nothing.

    Returns:
        A context whose value is :func:`default_cache_dir` within it.

    Example:
        >>> with cache_folder("elsewhere") as folder:
        ...     folder == default_cache_dir() == Path("elsewhere").absolute()
        True
    """
    before = os.environ.get("CONVRNN_CACHE")
    if folder is not None:
        os.environ["CONVRNN_CACHE"] = str(Path(folder).expanduser().absolute())
    try:
        yield default_cache_dir()
    finally:
        if before is None:
            os.environ.pop("CONVRNN_CACHE", None)
        else:
            os.environ["CONVRNN_CACHE"] = before
