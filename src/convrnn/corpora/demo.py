"""The demo corpus: synthetic speech, made on first use."""

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
from pathlib import Path

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.demo_plan import AROUSALS, GENDERS, INDEX, VERSION
from convrnn.errors import InputError

_ABANDONED_AFTER = 3600.0  # seconds


def open_demo(cache_dir: Path, on_progress: Callable[[int, int], None] | None = None) -> Corpus:
    """Open the demo corpus, synthesising it where it is not there yet.

    No person spoke: espeak-ng says 432 short English sentences (about one second each, 16 kHz, mono, 16 bits) in the
    voices of 36 invented speakers, 12 each as child, woman and man, who differ in pitch, vocal tract length and accent
    (see :mod:`~convrnn.corpora.demo_plan`). Each speaker says six sentences, aroused and calm. Good for trying things
    out and for tests; numbers measured on it say nothing about real speech.

    Tasks: ``gender`` (child, female, male) and ``arousal`` (aroused, calm). Partitions: 18 speakers for training, 6
    for validation and 12 for test, each with all genders.

    The corpus lies in ``<cache_dir>/demo-<version>``, with its table in ``demo.csv`` there. The folder appears under
    that name only when complete. The same library version gives the same bytes each time.

    Args:
        cache_dir: where the folder is or will be; made where it is missing.
        on_progress: called with (utterances done, utterances in all) during synthesis, which takes a few seconds.

    Raises:
        InputError: the corpus has to be synthesised, and the package espeakng-loader is missing, or espeak-ng fails,
            or the folder cannot be written.
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
    """The corpus in ``folder``; None where its table or one of its files is missing."""
    try:
        with (folder / INDEX).open(newline="", encoding="utf-8") as table:
            rows = list(csv.DictReader(table))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{folder / INDEX}: cannot be read ({error.strerror})") from error
    if not all((folder / row["file"]).is_file() for row in rows):
        return None
    return Corpus.from_columns(
        "demo",
        files=[folder / row["file"] for row in rows],
        ids=[row["file"] for row in rows],
        speakers=[row["speaker"] for row in rows],
        partitions=[row["partition"] for row in rows],
        labels={task: [row[task] for row in rows] for task in ("gender", "arousal")},
        classes={"gender": GENDERS, "arousal": AROUSALS},
        synthetic=True,
    )


def _make(folder: Path, on_progress: Callable[[int, int], None] | None) -> None:
    """Synthesise the corpus beside ``folder``, then rename."""
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
    """Remove what killed syntheses left behind; what is recent may be another process's work."""
    for partial in folder.parent.glob(f"{folder.name}.partial-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(partial, ignore_errors=True)


def _synthesise(partial: Path, on_progress: Callable[[int, int], None] | None) -> None:
    # -P: a file of the user's working directory must not stand in for a library.
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
    r"""Why the process failed, in one line.

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
    """Rename ``partial`` to ``folder``, unless another process was faster."""
    if _read(folder) is not None:
        return
    # Only a damaged corpus can be there.
    shutil.rmtree(folder, ignore_errors=True)
    try:
        partial.chmod(0o755)  # folders from tempfile are private
        partial.rename(folder)
    except OSError as error:
        if _read(folder) is None:
            raise InputError(f"{folder}: the demo corpus cannot be put there ({error.strerror})") from error
