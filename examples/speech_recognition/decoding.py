"""From the outputs of CTC to text: the best path, a beam search with an n-gram of words, and error rates."""

import functools
import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import jiwer
import numpy as np
from numpy.typing import NDArray

from examples.speech_recognition.corpus import ALPHABET

Array = NDArray[np.float32]

BEAM_WIDTH = 32
"""Prefixes that are kept from one frame to the next."""

LEAST_LOG_PROBABILITY = -8.0
"""Characters less likely than this in a frame are not tried there."""

END = "."
"""Stands behind the last word, like a word."""


def greedy(log_probabilities: Array) -> str:
    """The text of the most likely path: repeated outputs are one, blanks are left out.

    Args:
        log_probabilities: ``[frames, 1 + characters]``, the blank first.

    Example:
        >>> path = [0, 9, 9, 0, 9, 10]
        >>> greedy(np.log(np.eye(29, dtype=np.float32)[path] + 1e-6))
        'GGH'
    """
    path = log_probabilities.argmax(axis=1)
    kept = path[np.flatnonzero(np.diff(path, prepend=0))]
    return " ".join("".join(ALPHABET[output - 1] for output in kept if output).split())


class WordModel:
    """An n-gram of words with interpolated Witten-Bell smoothing, which also rates the beginning of a word.

    A word ends with a space here. The probability of a beginning is that of all words that begin so. The space belongs
    to it, so a beginning that ends with it is one word. Words that were never seen have the probability of their
    spelling, in which all characters are equally likely.

    Args:
        transcripts: The texts that are counted.
        order: Words of an n-gram.

    Example:
        >>> model = WordModel(["YES", "YES", "NO"])
        >>> [round(math.exp(model.score(text)), 2) for text in ("Y", "YES ", "YES A")]
        [0.6, 0.6, 0.0]
    """

    def __init__(self, transcripts: Sequence[str], order: int = 3) -> None:
        self._start = ("",) * (order - 1)
        self._beginnings: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        self._words: defaultdict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for text in transcripts:
            words = (*self._start, *_words(text), END)
            for place in range(len(self._start), len(words)):
                word = words[place]
                for size in range(order):
                    before = words[place - size : place]
                    self._words[before][word] += 1
                    self._beginnings[before].update(word[:end] for end in range(1, len(word) + 1))
        self.score = functools.lru_cache(maxsize=2**16)(self._score)

    def log_probability(self, beginning: str, before: tuple[str, ...]) -> float:
        """Natural logarithm of the probability that a word begins so.

        Args:
            beginning: Characters, or a whole word with its space, or :data:`END`.
            before: The words before it, each with its space.
        """
        context = self._start + before
        # What is longer than any word is as unlikely as hundreds of characters, but not impossible.
        probability = max((1.0 + len(ALPHABET)) ** -len(beginning), 1e-300)
        for size in range(len(self._start) + 1):
            nearest = context[len(context) - size :]
            if nearest not in self._words:
                break
            kinds, total = len(self._words[nearest]), self._words[nearest].total()
            probability = (self._beginnings[nearest][beginning] + kinds * probability) / (total + kinds)
        return math.log(probability)

    def _score(self, prefix: str) -> float:
        """Log-probability that a text begins with some words, each followed by a space, and the beginning of one."""
        if not prefix:
            return 0.0
        last = prefix.rfind(" ", 0, -1) + 1
        return self.score(prefix[:last]) + self.log_probability(prefix[last:], _words(prefix[:last]))


def beam_search(
    log_probabilities: Array, model: WordModel, *, weight: float, bonus: float, width: int = BEAM_WIDTH
) -> str:
    """The most likely text by CTC and an n-gram of words together (prefix beam search).

    A text is scored ``log P(text | audio) + weight * log P(words) + bonus * number of words``. While it grows, the
    beginning of its last word counts with the probability of all words that begin so.

    Args:
        log_probabilities: ``[frames, 1 + characters]``, the blank first.
        model: The n-gram.
        weight: Weight of the n-gram.
        bonus: Added for each word, since every word makes a text less likely.
        width: Prefixes that are kept from one frame to the next.
    """

    def score(prefix: str) -> float:
        return _add(*beams[prefix]) + weight * model.score(prefix) + bonus * prefix.count(" ")

    # Log-probabilities of a prefix: of the paths that end with the blank, and of those that end with its last letter.
    beams = {"": (0.0, -math.inf)}
    for frame in log_probabilities.tolist():
        grown: defaultdict[str, list[float]] = defaultdict(lambda: [-math.inf, -math.inf])
        likely = [(ALPHABET[i], value) for i, value in enumerate(frame[1:]) if value > LEAST_LOG_PROBABILITY]
        for prefix, (blank, character) in beams.items():
            either = _add(blank, character)
            same = grown[prefix]
            same[0] = _add(same[0], either + frame[0])
            if prefix:
                same[1] = _add(same[1], character + frame[1 + ALPHABET.index(prefix[-1])])
            for letter, value in likely:
                if letter == " " and prefix[-1:] in ("", " "):
                    continue
                longer = grown[prefix + letter]
                # The same character again is a second one only after a blank.
                longer[1] = _add(longer[1], (blank if prefix[-1:] == letter else either) + value)
        beams = {prefix: (blank, character) for prefix, (blank, character) in grown.items()}
        beams = {prefix: beams[prefix] for prefix in heapq.nlargest(width, beams, key=score)}
    totals: defaultdict[str, float] = defaultdict(lambda: -math.inf)
    for prefix, paths in beams.items():
        totals[prefix.strip()] = _add(totals[prefix.strip()], _add(*paths))

    def final_score(text: str) -> float:
        words = _words(text)
        language = model.score("".join(words)) + model.log_probability(END, words)
        return totals[text] + weight * language + bonus * len(words)

    return max(totals, key=final_score)


def _words(text: str) -> tuple[str, ...]:
    """The words of a text, each with a space behind it."""
    return tuple(f"{word} " for word in text.split())


def _add(a: float, b: float) -> float:
    """Logarithm of the sum of two numbers that are given by their logarithms."""
    high, low = (a, b) if a > b else (b, a)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))


def error_rates(references: Sequence[str], texts: Sequence[str]) -> tuple[float, float]:
    """Word and character error rate over all utterances together, in percent.

    Example:
        >>> error_rates(["A B", "YES"], ["A D", "YES"])
        (33.33, 16.67)
    """
    wer, cer = jiwer.wer(list(references), list(texts)), jiwer.cer(list(references), list(texts))
    return round(100 * float(wer), 2), round(100 * float(cer), 2)
