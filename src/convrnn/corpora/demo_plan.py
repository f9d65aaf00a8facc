"""The speakers and utterances of the synthetic demo corpus, drawn from one fixed seed.

Everything here is a pure function of names such as ``"child03"``: an utterance does not depend on earlier ones. The
numbers imitate what distinguishes the classes in real speech. For age and gender, fundamental frequency and vocal tract
length are drawn per speaker so that neighbouring groups overlap. For arousal, one latent level per utterance shifts
speaking rate, pitch, pitch range and loudness, each with independent noise, so that the two classes overlap as well.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
"""Incremented whenever a change alters the synthesised corpus; part of its folder's name."""

INDEX = "demo.csv"
"""File name of the corpus's table, in the format of ``csv:PATH``; written last."""

GENDERS = ("child", "female", "male")
AROUSALS = ("aroused", "calm")
SPEAKERS_PER_GENDER = 12
SENTENCES_PER_SPEAKER = 6

SENTENCES = (
    "the lamp is on the table",
    "we will meet at seven",
    "my brother has a boat",
    "they painted the door",
    "the train is almost here",
    "put the letters away",
    "a cold wind is blowing",
    "nobody found the key",
    "the soup needs more salt",
    "our garden is full of birds",
    "she closed the window",
    "he carried both of them",
    "look at the old bridge",
    "that was the last one",
    "the shop opens at nine",
    "I left it in the car",
    "give me the blue cup",
    "the dog ran home again",
    "you can sit over here",
    "it rained all morning",
    "ask them for the map",
    "there are five of us",
    "the moon was very bright",
    "he never liked coffee",
)


@dataclass(frozen=True, slots=True)
class _Group:
    """Distribution of the speakers of one gender: median and log-deviation of pitch, mean and deviation of size."""

    pitch_hz: float
    pitch_spread: float
    formants: float
    formants_spread: float


_GROUPS = {
    "child": _Group(275.0, 0.12, 129.0, 4.0),
    "female": _Group(205.0, 0.13, 115.0, 3.5),
    "male": _Group(118.0, 0.15, 101.0, 3.5),
}

_ACCENTS = ("en", "en-us", "en-sc", "en-n", "en-wm", "en-rp")


@dataclass(frozen=True, slots=True)
class Speaker:
    """One synthetic voice.

    Attributes:
        name: gender and number, for example ``"female07"``.
        gender: one of :data:`GENDERS`.
        partition: ``"train"`` (6 of a gender's 12 speakers), ``"validation"`` (2) or ``"test"`` (4).
        accent: espeak-ng's phoneme table.
        pitch_hz: lowest and highest fundamental frequency of neutral speech.
        formants: frequencies of the nine resonances in percent of the library's adult male voice.
        strengths: heights of the nine resonances in percent.
        rate: words per minute of neutral speech.
        noise_db: background noise of the speaker's recordings, in dB below full scale.
    """

    name: str
    gender: str
    partition: str
    accent: str
    pitch_hz: tuple[int, int]
    formants: tuple[int, ...]
    strengths: tuple[int, ...]
    rate: float
    noise_db: float

    def voice_file(self) -> str:
        """The voice as a file in espeak-ng's format.

        There is no flutter, breath or echo, since those carry state or random numbers from one utterance to the next.
        So does the count of glottal cycles used for roughness and creak; a roughness beyond the library's highest
        level (7) disables it.
        """
        resonances = [
            f"formant {number} {frequency} {strength} 100"
            for number, (frequency, strength) in enumerate(zip(self.formants, self.strengths, strict=True))
        ]
        head = ["language en", f"name {self.name}", f"phonemes {self.accent}", "flutter 0", "roughness 9"]
        return "\n".join([*head, f"pitch {self.pitch_hz[0]} {self.pitch_hz[1]}", *resonances]) + "\n"


@dataclass(frozen=True, slots=True)
class Utterance:
    """One sentence by one speaker in one rendering.

    Attributes:
        name: unique, and the name of its file without ``.wav``.
        speaker: the speaker.
        arousal: one of :data:`AROUSALS`.
        text: the sentence.
        rate: words per minute.
        pitch: espeak-ng's pitch, 0 to 99; 50 is the speaker's neutral pitch.
        pitch_range: espeak-ng's pitch range, 0 (monotone) to 99; 50 is neutral.
        gain_db: level relative to the speaker's neutral level.
        seed: seed of everything random in the synthesis.
    """

    name: str
    speaker: Speaker
    arousal: str
    text: str
    rate: int
    pitch: int
    pitch_range: int
    gain_db: float
    seed: int


def draw_speaker(gender: str, number: int) -> Speaker:
    """Speaker ``number`` (from 0) of a gender.

    Example:
        >>> child, man = draw_speaker("child", 0), draw_speaker("male", 0)
        >>> child.name, child.partition, child.pitch_hz[0] > man.pitch_hz[0]
        ('child01', 'train', True)
    """
    name = f"{gender}{number + 1:02d}"
    group, draw = _GROUPS[gender], random.Random(f"convrnn demo {VERSION} {name}")
    low = group.pitch_hz * math.exp(draw.gauss(0.0, group.pitch_spread)) * 0.88
    size = draw.gauss(group.formants, group.formants_spread)
    share = number / SPEAKERS_PER_GENDER
    return Speaker(
        name=name,
        gender=gender,
        partition="train" if share < 0.5 else "validation" if share < 2 / 3 else "test",
        accent=_ACCENTS[number % len(_ACCENTS)],
        pitch_hz=(round(low), round(low * draw.uniform(1.25, 1.5))),
        formants=tuple(round(size + draw.gauss(0.0, 1.5)) for _ in range(9)),
        strengths=tuple(round(draw.uniform(75.0, 115.0)) for _ in range(9)),
        rate=draw.gauss(188.0, 8.0),
        noise_db=draw.uniform(-58.0, -50.0),
    )


def _clip(value: float, low: int, high: int) -> int:
    return min(max(round(value), low), high)


def _render(speaker: Speaker, number: int, text: str, arousal: str) -> Utterance:
    name = f"{speaker.name}-{number + 1:02d}-{arousal}"
    draw = random.Random(f"convrnn demo {VERSION} {name}")
    level = (1.0 if arousal == "aroused" else -1.0) + draw.gauss(0.0, 0.5)
    return Utterance(
        name=name,
        speaker=speaker,
        arousal=arousal,
        text=text,
        rate=_clip(speaker.rate + 16.0 * level + draw.gauss(0.0, 8.0), 120, 260),
        pitch=_clip(50.0 + 8.0 * level + draw.gauss(0.0, 6.0), 15, 90),
        pitch_range=_clip(50.0 + 15.0 * level + draw.gauss(0.0, 8.0), 10, 95),
        gain_db=1.5 * level + draw.gauss(0.0, 2.0),
        seed=draw.randrange(1, 2**31),
    )


def speaker_utterances(speaker: Speaker) -> Iterator[Utterance]:
    """The speaker's sentences, each aroused and calm.

    Example:
        >>> [u.name for u in speaker_utterances(draw_speaker("male", 2))][:2]
        ['male03-01-aroused', 'male03-01-calm']
    """
    texts = random.Random(f"convrnn demo {VERSION} {speaker.name} texts").sample(SENTENCES, SENTENCES_PER_SPEAKER)
    for number, text in enumerate(texts):
        for arousal in AROUSALS:
            yield _render(speaker, number, text, arousal)


def plan() -> list[Utterance]:
    """Every utterance of the corpus, in the order of synthesis.

    Example:
        >>> len(plan()), len({u.speaker.name for u in plan()})
        (432, 36)
    """
    speakers = [draw_speaker(gender, number) for gender in GENDERS for number in range(SPEAKERS_PER_GENDER)]
    return [utterance for speaker in speakers for utterance in speaker_utterances(speaker)]
