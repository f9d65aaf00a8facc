"""Damaged inputs guided by coverage: atheris keeps inputs that reach new code in convrnn and damages them further."""

import hashlib
import importlib.util
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

from torture.target import Target

LONGEST = 2**20
"""Maximum size of an input in bytes."""

FRESH = 0.5
"""Share of inputs made by damaging a valid one instead of a kept one."""


def available() -> bool:
    """Whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def instrumented() -> AbstractContextManager[object]:
    """Within the context, imported modules of convrnn report to atheris which branches they take."""
    import atheris

    found: AbstractContextManager[object] = atheris.instrument_imports(include=["convrnn"])
    return found


def drive(target: Target, attempt: Callable[[bytes], None], kept: Path, seed: str) -> None:
    """Calls ``attempt`` with one damaged input after another; like libFuzzer, it never returns.

    Args:
        target: the reader, whose modules were imported within :func:`instrumented`.
        attempt: reads an input without raising, and ends the process after the last one.
        kept: folder for the inputs that reached new code; processes may share it.
        seed: seed of the random choices. Which inputs are kept also depends on what other processes keep.
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
        # The first input is always an empty one that libFuzzer adds.
        if data:
            attempt(data)

    # The reading process sets its own limits, and its parent sees whatever ends it.
    off = ("rss_limit_mb", "malloc_limit_mb", "detect_leaks", "len_control", "verbosity")
    signals = ("abrt", "alrm", "bus", "fpe", "ill", "int", "segv", "term", "usr1", "usr2", "xfsz")
    options = [f"-{name}=0" for name in (*off, *(f"handle_{name}" for name in signals))]
    options += [
        f"-max_len={LONGEST}",
        f"-seed={Random(seed).randrange(1, 2**31)}",
        "-reload=1",
        # Not 0, which atheris takes for a timeout that has always passed.
        f"-timeout={10**6}",
        f"-artifact_prefix={seeds}/",
    ]
    atheris.Setup(["torture", *options, str(kept), str(seeds)], read, custom_mutator=damage)
    atheris.Fuzz()
