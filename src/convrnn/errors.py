"""The one exception for input that a user has to correct."""

import re
from collections.abc import Callable
from dataclasses import dataclass

_URL = re.compile(r"(\s*for further information visit)?\s*\bhttps?://\S*", re.IGNORECASE)


_CONTROL = dict.fromkeys([*range(32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}")
"""Control characters, which a terminal would obey."""


def one_sentence(text: str, most: int = 300) -> str:
    r"""Text on one line, without URLs, shortened if it is too long.

    The middles of long words, such as paths, are cut first, to keep the ends of the paths and what is said of them;
    then the middle of the whole text.

    Args:
        text: For example another library's error message.
        most: Maximum number of characters, at least 3.

    Example:
        >>> one_sentence("1 validation error\n  Input should be valid\n    For further information visit https://x.org/y")
        '1 validation error Input should be valid'
        >>> one_sentence(f"/data/{'x' * 100}/a.wav: is empty", 60)
        '/data/xxxxxxxxxx…xxxxxxxxxxxxxxxxxxxxxxxxxxx/a.wav: is empty'
        >>> one_sentence(f"/data/{'x' * 100}/a.wav: is not in /data/{'y' * 50}/list.csv", 90)
        '/data/x…xxxxxxx/a.wav: is not in /data/yyyyyyyyyyyy…yyyyyyyyyyyyyyyyyyyyyyyyyyyyy/list.csv'
    """
    text = " ".join(_URL.sub("", text).split()).translate(_CONTROL)
    excess = len(text) - most
    if excess <= 0:
        return text
    words = text.split(" ")
    for place in sorted(range(len(words)), key=lambda place: -len(words[place])):
        # If its words are short, the text is long because they are many.
        kept = min(len(words[place]), max(len(words[place]) - excess, max(1, most // 4)))
        excess -= len(words[place]) - kept
        words[place] = _without_middle(words[place], kept)
    return _without_middle(" ".join(words), most)


def _without_middle(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head = (most - 1) // 3
    return f"{text[:head].rstrip()}…{text[len(text) - (most - 1 - head) :].lstrip()}"


@dataclass(frozen=True, slots=True)
class Argument:
    """A function's argument in the text of an error; commands show the corresponding option instead.

    Attributes:
        name: as in the function's signature.
        value: the value given or advised, or a tuple of several; None if only the name matters.

    Example:
        >>> print(Argument("sample_rate", 10), Argument("accept", ("silence", "truncated")), Argument("split"))
        sample_rate=10 accept=['silence', 'truncated'] 'split'
    """

    name: str
    value: str | float | tuple[str, ...] | None = None

    def __str__(self) -> str:
        if self.value is None:
            return repr(self.name)
        return f"{self.name}={list(self.value) if isinstance(self.value, tuple) else self.value!r}"


class InputError(ValueError):
    """Bad input from the user, described in one sentence.

    The sentence names the file, row, field or argument, what was found and what is allowed. The command line prints
    it without a traceback and exits with code 2. It has one line and at most 300 characters, whatever names and
    messages of other libraries it contains (see :func:`one_sentence`).

    Args:
        parts: the sentence, whole or in pieces.

    Example:
        >>> raise InputError("data.csv: column 'speaker' is missing; found file, label")
        Traceback (most recent call last):
        ...
        convrnn.errors.InputError: data.csv: column 'speaker' is missing; found file, label
    """

    def __init__(self, *parts: str | Argument) -> None:
        super().__init__(one_sentence("".join(map(str, parts))))
        self._parts = parts

    def naming(self, name: Callable[[Argument], str]) -> str:
        """The sentence with its arguments written in another way.

        Example:
            >>> error = InputError("no speaker has both classes; choose another ", Argument("split"))
            >>> print(error)
            no speaker has both classes; choose another 'split'
            >>> error.naming(lambda argument: f"--{argument.name}")
            'no speaker has both classes; choose another --split'
        """
        return one_sentence("".join(part if isinstance(part, str) else name(part) for part in self._parts))
