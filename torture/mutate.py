"""Ways to damage valid bytes, JSON and tables, by random choices that a seed reproduces."""

import json
import math
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MOST_DAMAGES = 4
"""Maximum number of changes to one input."""

_HEADER = 128
"""Bytes at the beginning that are damaged more often, as they hold sizes, rates and counts."""

_LONG = 100_000
"""Length of a very long text or list."""

_INTEGERS = (
    *(0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 10**6, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF),
    *(2**40, 2**53, 2**63 - 1, 2**63, 2**64 - 1),
)
_FLOATS = (0.0, -0.0, 1.0, 1e-45, 1e30, 3.4e38, 1e300, math.inf, -math.inf, math.nan)
_NAMES = ("", " ", "a\nb", "\0", "../../x", "/dev/zero", "é", "e\u0301", "\u202e", "=1+1", "<script>", "x" * 5000)
_CELLS = (
    *("", " ", "nan", "inf", "-1", "1,5", "1e309", "9" * 400, "0x10", '"', '""', "'", "\\", "\r", "\n", "\0", "\ufeff"),
    *("\ud7ff", "test", "train", "TRAIN", "validation", "=cmd()", "../..", "/", ".", "/dev/null", "a" * _LONG),
)
_NUMBERS_AS_TEXT = ("1e999", "-1e999", "NaN", "Infinity", "-Infinity", "9" * 5000, "0." + "1" * 5000, "-0", "01", "1.")


def damage_bytes(data: bytes, random: Random, others: Sequence[bytes] = (b"",)) -> bytes:
    """The bytes with one to :data:`MOST_DAMAGES` changes.

    Args:
        data: A valid input.
        random: Source of all random choices.
        others: Other valid inputs, parts of which may be spliced in.

    Example:
        >>> damage_bytes(b"RIFF....WAVE", Random(1)) == damage_bytes(b"RIFF....WAVE", Random(1))
        True
    """
    for _ in range(random.randint(1, MOST_DAMAGES)):
        kind = random.choice(_BYTE_DAMAGES)
        data = kind(data, random, random.choice(others))
    return data


def damage_json(data: bytes, random: Random) -> bytes:
    """JSON with one or more changes to its structure or to its characters.

    Args:
        data: JSON. If it is not valid, or nests too deeply or is too large to be parsed, its bytes are damaged.
        random: Source of all random choices.
    """
    if random.random() < 0.2:
        return damage_bytes(data, random)
    raw: dict[str, str] = {}
    try:
        value = json.loads(data)
        for _ in range(random.randint(1, MOST_DAMAGES)):
            value = _damage_value(value, random, raw)
        found = json.dumps(value, ensure_ascii=random.random() < 0.5)
    except (ValueError, OverflowError, RecursionError):
        return damage_bytes(data, random)
    for mark, replacement in raw.items():
        found = found.replace(json.dumps(mark), replacement)
    return found.encode("utf-8", "surrogatepass")


def damage_table(data: bytes, random: Random, separator: str | None = ",") -> bytes:
    """A table with one or more changes to a cell, a row or the whole.

    Args:
        data: A table in UTF-8. If it is not valid UTF-8, its bytes are damaged.
        random: Source of all random choices.
        separator: Separates two cells; None stands for white space.
    """
    if random.random() < 0.25:
        return damage_bytes(data, random)
    try:
        rows = [line.split(separator) for line in data.decode().splitlines()]
    except UnicodeDecodeError:
        return damage_bytes(data, random)
    for _ in range(random.randint(1, MOST_DAMAGES)):
        _damage_row(rows, random)
    joint = separator or " "
    if random.random() < 0.1:
        joint = random.choice([";", "\t", ",", "  ", " ;"])
    end = random.choice(["\n", "\n", "\n", "\r\n", "\r", "\n\n", "\x0b", "\u2028"])
    found = end.join(joint.join(row) for row in rows) + random.choice(["", end])
    encoding = random.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"])
    return found.encode(encoding, "replace")


def _flip_bit(data: bytes, random: Random, _: bytes) -> bytes:
    return _edited(data, _place(data, random), lambda byte: bytes([byte ^ 1 << random.randrange(8)]))


def _set_byte(data: bytes, random: Random, _: bytes) -> bytes:
    return _edited(data, _place(data, random), lambda _: bytes([random.choice([0, 0xFF, 0x7F, 0x80, 0x20, 0x22])]))


def _edited(data: bytes, place: int, change: Callable[[int], bytes]) -> bytes:
    return data[:place] + change(data[place]) + data[place + 1 :] if data else data


def _put_number(data: bytes, random: Random, _: bytes) -> bytes:
    """Overwrites some bytes with an extreme number."""
    size = random.choice("HIQfd")
    order = random.choice("<>")
    if size in "fd":
        number = struct.pack(order + "d", random.choice(_FLOATS))
        number = number if size == "d" else (number[:4] if order == ">" else number[4:])
    else:
        bits = 8 * struct.calcsize(size)
        number = struct.pack(order + size, random.choice(_INTEGERS) % 2**bits)
    place = _place(data, random)
    return data[:place] + number + data[place + len(number) :]


def _truncate(data: bytes, random: Random, _: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _cut_out(data: bytes, random: Random, _: bytes) -> bytes:
    place = _place(data, random)
    return data[:place] + data[place + random.choice([1, 2, 4, 16, 1 + len(data) // 4]) :]


def _insert(data: bytes, random: Random, _: bytes) -> bytes:
    place = _place(data, random)
    inserted = random.choice([random.randbytes(random.choice([1, 4, 64])), bytes([random.randrange(256)]) * 300])
    return data[:place] + inserted + data[place:]


def _double(data: bytes, random: Random, _: bytes) -> bytes:
    place = _place(data, random)
    piece = data[place : place + random.choice([1, 8, 44, 1000])]
    return data[:place] + piece * random.choice([1, 1, 1, 50]) + data[place:]


def _blank(data: bytes, random: Random, _: bytes) -> bytes:
    place = _place(data, random)
    count = min(random.choice([4, 16, 512, len(data)]), len(data) - place)
    return data[:place] + bytes([random.choice([0, 0xFF])]) * count + data[place + count :]


def _splice(data: bytes, random: Random, other: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _only_noise(_: bytes, random: Random, __: bytes) -> bytes:
    return random.randbytes(random.choice([0, 1, 3, 12, 44, 1000]))


def _place(data: bytes, random: Random) -> int:
    end = min(len(data), _HEADER) if random.random() < 0.6 else len(data)
    return random.randrange(end) if end else 0


_Damage = Callable[[bytes, Random, bytes], bytes]
# Changes that leave most of the input intact come more often, as readers get further with them.
_BYTE_DAMAGES: tuple[_Damage, ...] = (
    *(_flip_bit, _flip_bit, _set_byte, _set_byte, _put_number, _put_number, _put_number, _put_number),
    *(_truncate, _cut_out, _insert, _double, _blank, _splice, _only_noise),
)


def _damage_value(value: Any, random: Random, raw: dict[str, str]) -> Any:  # noqa: ANN401 - JSON is anything
    """The value with a change somewhere within it; ``raw`` collects text that ``json.dumps`` could not write."""
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        action = random.random()
        if action < 0.08:
            return {name: item for name, item in value.items() if name != key}
        if action < 0.14:
            return value | {random.choice([key.upper(), key + "2", *_NAMES]): value[key]}
        return value | {key: _damage_value(value[key], random, raw)}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        action = random.random()
        if action < 0.1:
            return value[:place] + value[place + 1 :]
        if action < 0.2:
            return value[:place] + [value[place]] * random.choice([2, 2, 2, 1000]) + value[place:]
        return [*value[:place], _damage_value(value[place], random, raw), *value[place + 1 :]]
    return _other_value(value, random, raw)


def _other_value(value: Any, random: Random, raw: dict[str, str]) -> Any:  # noqa: ANN401 - JSON is anything
    if isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.5:
        return random.choice([-value, value + 1, value - 1, value * 2, value / 3, value * 1000, 1e6 * value])
    if isinstance(value, str) and random.random() < 0.3:
        return random.choice([value + value, value[:-1], value.upper(), value + "\0", value + "\ud800"])
    kind = random.randrange(7)
    if kind == 0:
        return random.choice([*_INTEGERS, *(-number for number in _INTEGERS)])
    if kind == 1:
        return random.choice(_FLOATS)
    if kind == 2:
        return random.choice(_NAMES)
    if kind == 3:
        return random.choice([None, True, False, [], {}, [value], {"a": value}, [[[]]]])
    mark = f"raw {len(raw)}"
    if kind == 4:
        raw[mark] = random.choice(_NUMBERS_AS_TEXT)
    elif kind == 5:
        opening, closing = random.choice([("[", "]"), ('{"a":', "}")])
        depth = random.choice([50, 500, 2000, _LONG])
        raw[mark] = opening * depth + "1" + (closing * depth if random.random() < 0.5 else "")
    else:
        raw[mark] = "[" + ",".join([random.choice(["0", '"a"', "[]"])] * random.choice([100, _LONG // 10])) + "]"
    return mark


def _damage_row(rows: list[list[str]], random: Random) -> None:
    if not rows:
        rows.append([random.choice(_CELLS)])
    place = random.randrange(len(rows)) if random.random() < 0.7 else 0
    row = rows[place]
    column = random.randrange(len(row)) if row else 0
    action = random.randrange(9)
    if action <= 3 and row:
        row[column] = random.choice(_CELLS)
    elif action == 4 and row:
        row[column] = row[column] + random.choice(_CELLS)
    elif action == 5:
        row.insert(column, random.choice(_CELLS))
    elif action == 6 and row:
        del row[column]
    elif action == 7:
        rows.insert(place, list(random.choice(rows)))
    else:
        del rows[place]
