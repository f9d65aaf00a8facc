"""Damaged inputs guided by coverage: atheris keeps what reaches something new in convrnn, and damages that further."""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

from torture.readers import Target

LONGEST = 2**20
"""Bytes of an input at most."""

FRESH = 0.5
"""Share of inputs that are a valid one with damage, whatever has been kept."""


def available() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def instrumented() -> AbstractContextManager[object]:
    """Within it, imported modules of convrnn report to atheris which branches are taken."""
    import atheris

    found: AbstractContextManager[object] = atheris.instrument_imports(include=["convrnn"])
    return found


def drive(target: Target, attempt: Callable[[bytes], None], kept: Path, seed: str) -> None:
    """Calls ``attempt`` with one damaged input after another; never returns, as libFuzzer does not.

    Args:
        target: what was imported for it was so within :func:`instrumented`.
        attempt: reads an input, and raises nothing; it ends the process.
        kept: a folder for the inputs that reached something new. Processes may share it.
        seed: decides what is random here. Which inputs are kept depends on what other processes keep, too.
    """
    import atheris

    kept.mkdir(exist_ok=True)
    seeds = Path(tempfile.mkdtemp())
    for valid in target.seeds:
        (seeds / hashlib.sha256(valid).hexdigest()).write_bytes(valid)

    def damage(data: bytes, most: int, number: int) -> bytes:
        random = Random(number)
        source = random.choice(target.seeds) if random.random() < FRESH else data
        return target.damage(source, random)[:most] or b"\0"

    def read(data: bytes) -> None:
        # Whatever the reader, the first input is an empty one, which nobody made.
        if data:
            attempt(data)

    # Limits are ours, and whatever ends the process is seen by the one that started it.
    off = ("rss_limit_mb", "malloc_limit_mb", "detect_leaks", "len_control", "verbosity")
    signals = ("abrt", "alrm", "bus", "fpe", "ill", "int", "segv", "term", "usr1", "usr2", "xfsz")
    options = [f"-{name}=0" for name in (*off, *(f"handle_{name}" for name in signals))]
    options += [
        f"-max_len={LONGEST}",
        f"-seed={Random(seed).randrange(1, 2**31)}",
        "-reload=1",
        # Not 0: atheris takes that for a limit that is always over.
        f"-timeout={10**6}",
        f"-artifact_prefix={seeds}/",
    ]
    atheris.Setup(["torture", *options, str(kept), str(seeds)], read, custom_mutator=damage)
    atheris.Fuzz()
