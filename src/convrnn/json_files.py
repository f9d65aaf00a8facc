"""Reads JSON files from untrusted sources."""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from convrnn.errors import InputError, one_sentence
from convrnn.files import read_regular

MOST_BYTES = 2**24
"""Most bytes of a JSON file, enough for a split with half a million speakers."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

_Model = TypeVar("_Model", bound=BaseModel)


def read_json(path: Path | str, *, most_bytes: int = MOST_BYTES) -> Any:  # noqa: ANN401
    """The content of a JSON file.

    Args:
        path: The file, in UTF-8.
        most_bytes: The largest size allowed.

    Raises:
        InputError: if it is missing, not a regular file, too large, unreadable or not UTF-8, or :func:`parse_json`
            refuses its content.

    Example:
        >>> read_json("nowhere/split.json")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: nowhere/split.json: file does not exist
    """
    content = read_regular(path, most_bytes)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start} is 0x{content[error.start]:02x})") from None
    return parse_json(text, str(path))


def parse_json(text: str, where: str) -> Any:  # noqa: ANN401
    """The content of a JSON text.

    Args:
        text: One JSON value.
        where: Where the text comes from; the error message begins with it.

    Raises:
        InputError: if it is not JSON, nests too deeply, repeats a key, has a number that is not finite or an integer
            beyond 64 bits, or text that is not Unicode.

    Example:
        >>> parse_json('{"seed": 1, "seed": 2}', "spec.json")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: spec.json: is not valid JSON (key 'seed' occurs twice)
    """
    try:
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
        if _SURROGATE.search(text):
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise InputError(f"{where}: is not valid JSON (its brackets nest too deeply)") from None
    except UnicodeEncodeError:
        raise InputError(f"{where}: is not valid JSON (half of a surrogate pair is not a character)") from None
    except ValueError as error:
        raise InputError(f"{where}: is not valid JSON ({one_sentence(str(error), 120)})") from None
    return content


def validate(model: type[_Model], content: Any, path: Path | str, what: str) -> _Model:  # noqa: ANN401
    """The content of a file as a typed model.

    Args:
        model: The pydantic model.
        content: From :func:`read_json`.
        path: The file; the error message begins with it.
        what: What the content is, for example "the split".

    Raises:
        InputError: if it is not valid; the sentence names the first wrong field.

    Example:
        >>> class Point(BaseModel):
        ...     x: int
        >>> validate(Point, {"x": "one"}, "point.json", "the point")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: point.json: the point is not valid at x: Input should be a valid integer, unable to \
parse string as an integer
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {what} is not valid{told(error)}") from None


def told(error: ValidationError) -> str:
    """The first invalid field and the reason, to end a sentence with.

    Args:
        error: From pydantic.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    field = one_sentence(".".join(map(str, first["loc"])), 80)
    reason = one_sentence(first["msg"].removeprefix("Value error, "), 160)
    return f" at {field}: {reason}" if field else f": {reason}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (twice, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {twice!r} occurs twice")
    return content


def _integer(digits: str) -> int:
    # Counted first, since converting thousands of digits takes long.
    if len(digits) <= 20 and -(2**63) <= (number := int(digits)) < 2**63:
        return number
    raise ValueError(f"the number {one_sentence(digits, 30)} has more than 64 bits")


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {one_sentence(digits, 30)} is too large")
    return number


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
