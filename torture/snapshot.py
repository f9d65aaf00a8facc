"""Hashes of what commands have written, without times and dates: equal if all numbers are, byte by byte."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

LEFT_BEHIND = re.compile(r"\.tmp$|\.partial(/|$)|(^|/)\.[^/]*\.lock$|(^|/)\.[^/]+$")
"""Names of files that must be gone when a command has finished."""

_TIMES = re.compile(rb"\b\d+(?:\.\d+)?(?: min \d+ s| h \d+ min| ms| s| min| h)\b")
_DATE = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\+\d\d:\d\d|Z)?"
# If all runs finish within the same second there is one date, otherwise a first and a last.
_DATES = re.compile(_DATE + rb"(?: to " + _DATE + rb")?")
_CLOCKED = ("seconds", "finished")
_OF_CLOCKED_FILES = ("metrics.jsonl", "last.ckpt", "result.json")
"""Files whose digests depend on the time that training took."""


def snapshot(folder: Path) -> dict[str, str]:
    """Hashes of all files below a folder, without times and dates, by their paths."""
    return {path.relative_to(folder).as_posix(): hash_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def hash_of(path: Path) -> str:
    """A hash of a file's content without times and dates."""
    return hashlib.sha256(_content(path)).hexdigest()


def difference(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """What is wrong with a snapshot, one line per file."""
    faults = [f"{name} is missing" for name in sorted(expected.keys() - found.keys())]
    faults += [
        f"{name} was left behind" if LEFT_BEHIND.search(name) else f"{name} is unexpected"
        for name in sorted(found.keys() - expected.keys())
    ]
    return faults + [f"{name} differs" for name in sorted(expected) if name in found and found[name] != expected[name]]


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    clean = _CLEANERS.get(path.name) or _CLEANERS.get(path.suffix)
    return clean(data) if clean else data


def _json(data: bytes) -> bytes:
    return json.dumps(_unclocked(json.loads(data)), sort_keys=True).encode()


def _json_lines(data: bytes) -> bytes:
    return b"\n".join(_json(line) for line in data.splitlines())


def _unclocked(value: Any) -> Any:  # noqa: ANN401 - JSON is anything
    if isinstance(value, dict):
        return {name: _unclocked(item) for name, item in value.items() if name not in (*_CLOCKED, *_OF_CLOCKED_FILES)}
    return [_unclocked(item) for item in value] if isinstance(value, list | tuple) else value


def _table(data: bytes) -> bytes:
    rows = list(csv.reader(io.StringIO(data.decode())))
    kept = [place for place, name in enumerate(rows[0]) if name not in _CLOCKED]
    return json.dumps([[row[place] for place in kept] for row in rows]).encode()


def _text(data: bytes) -> bytes:
    return _DATES.sub(b"a date", _TIMES.sub(b"a time", data))


def _checkpoint(data: bytes) -> bytes:
    import torch

    content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return repr(_told(_unclocked(content))).encode()


def _told(value: Any) -> Any:  # noqa: ANN401 - a checkpoint holds anything
    """The value with tensors as their bytes."""
    if isinstance(value, dict):
        return {name: _told(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_told(item) for item in value]
    return (str(value.dtype), value.numpy().tobytes()) if hasattr(value, "numpy") else value


_CLEANERS: dict[str, Callable[[bytes], bytes]] = {
    "result.json": _json,
    "metrics.jsonl": _json_lines,
    "last.ckpt": _checkpoint,
    "predictions.csv": lambda data: data,
    ".csv": _table,
    ".md": _text,
    ".html": _text,
    ".tex": _text,
    "stdout": _text,
}
