"""The demo corpus: synthetic speech, generated on first use."""

import contextlib
import csv
import importlib.util
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.demo_plan import AROUSALS, GENDERS, INDEX, VERSION
from convrnn.errors import InputError

_ABANDONED_AFTER = 3600.0  # seconds


def open_demo(cache_dir: Path, on_progress: Callable[[int, int], None] | None = None) -> Corpus:
    """Opens the demo corpus, synthesising it first if necessary.

    The speech is synthetic: espeak-ng says 432 short English sentences (about one second each, 16 kHz, mono, 16 bits)
    in the voices of 36 invented speakers, 12 children, 12 women and 12 men, who differ in pitch, vocal tract length and
    accent (see :mod:`~convrnn.corpora.demo_plan`). Each speaker says six sentences, aroused and calm. The
    corpus is meant for trials and tests; numbers measured on it say nothing about real speech.

    Tasks: ``gender`` (child, female, male) and ``arousal`` (aroused, calm). Partitions: 18 speakers for training, 6
    for validation and 12 for test, each with all genders.

    The corpus is stored in ``<cache_dir>/demo-<version>``, its table as ``demo.csv`` in it. The folder appears under
    that name only when complete. The same library version gives the same bytes each time.

    Args:
        cache_dir: Parent folder of the corpus; created if missing.
        on_progress: Called with (utterances done, total) during synthesis, which takes a few seconds.

    Raises:
        InputError: The corpus must be synthesised, but the package espeakng-loader is missing, espeak-ng fails or the
            folder cannot be written.
    """
    folder = cache_dir / f"demo-{VERSION}"
    corpus = _read(folder)
    if corpus is None:
        _make(folder, on_progress)
        corpus = _read(folder)
    if corpus is None:
        raise InputError(f"{folder}: the demo corpus vanished while it was being opened")
    return corpus


def _read(folder: Path) -> Corpus | None:
    """The corpus in ``folder``; None if its table or one of its files is missing."""
    try:
        with (folder / INDEX).open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{folder / INDEX}: cannot be read ({error.strerror})") from error
    if not all((folder / row["file"]).is_file() for row in rows):
        return None
    columns: dict[str, list[object]] = {
        "id": [row["file"] for row in rows],
        "file": [folder / row["file"] for row in rows],
        **{name: [row[name] for row in rows] for name in ("speaker", "partition", "gender", "arousal")},
    }
    classes = {"gender": GENDERS, "arousal": AROUSALS}
    return replace(Corpus.from_table(pd.DataFrame(columns, dtype=object), name="demo", classes=classes), synthetic=True)


def _make(folder: Path, on_progress: Callable[[int, int], None] | None) -> None:
    """Synthesises the corpus next to ``folder``, then renames it."""
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError(
            "the demo corpus is synthesised with the package espeakng-loader, which is not installed; "
            "run: pip install 'convrnn[demo]'"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder.parent}: the demo corpus cannot be written there ({error.strerror})") from error
    try:
        _synthesise(partial, on_progress)
        _put_in_place(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Removes the leftovers of killed syntheses, except recent ones, which may be another process's work."""
    for partial in folder.parent.glob(f"{folder.name}.partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(partial, ignore_errors=True)


def _synthesise(partial: Path, on_progress: Callable[[int, int], None] | None) -> None:
    # -P, so that no file in the user's working directory shadows a library.
    command = [sys.executable, "-P", "-m", "convrnn.corpora.demo_synthesis", str(partial)]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                done, total = line.split()
                if on_progress is not None:
                    on_progress(int(done), int(total))
            status = process.wait()
        except BaseException:
            process.kill()
            raise
        if status != 0:
            errors.seek(0)
            raise InputError(f"the demo corpus could not be synthesised: {_reason(status, errors.read())}")


def _reason(status: int, errors: str) -> str:
    r"""The reason why the process failed, in one line.

    Example:
        >>> _reason(1, "Traceback (most recent call last):\n  ...\nOSError: [Errno 28] No space left on device\n")
        'OSError: [Errno 28] No space left on device'
        >>> _reason(-11, "")
        'espeak-ng crashed (SIGSEGV)'
    """
    if status < 0:
        return f"espeak-ng crashed ({signal.Signals(-status).name})"
    lines = errors.strip().splitlines()
    return lines[-1] if lines else f"the process ended with exit code {status}"


def _put_in_place(partial: Path, folder: Path) -> None:
    """Renames ``partial`` to ``folder``, unless another process was faster."""
    if _read(folder) is not None:
        return
    # If the folder exists, it holds a damaged corpus.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.chmod(0o755)  # folders from tempfile are private
        partial.rename(folder)
    except OSError as error:
        if _read(folder) is None:
            raise InputError(f"{folder}: the demo corpus cannot be put there ({error.strerror})") from error
