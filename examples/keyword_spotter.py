"""A keyword spotter: two CLSTM layers on log mel features, trained on clips of a second, listening to a long signal.

The words are synthetic: two tones of 0.15 s, a low and a high one for "up", the other way round for "down". Other pairs
of tones, parts of words and noise are nothing. While the spotter listens, it decides ten times a second on the last
second that it has heard. Commands::

    pip install 'convrnn[speech]'
    python examples/keyword_spotter.py

It prints the accuracy on clips that it was not trained on, then what is said in a minute of sound and what the spotter
hears, and when.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from convrnn.features.logmel import LogMelConfig
from convrnn.nn import CLSTM

RATE = 8000
BLOCK = RATE // 10
LOGMEL = LogMelConfig(sample_rate=RATE)
CLASSES = ("nothing", "up", "down")
TONES = {"up": (600, 1200), "down": (1200, 600), "low": (600, 600), "high": (1200, 1200), "silence": (0, 0)}

Samples = NDArray[np.float32]


class Spotter(nn.Module):
    """Features of 10 frames, features of 35, and the best score of any time for each word."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.layers = nn.Sequential(
            CLSTM(LOGMEL.num_features, 32, kernel_size=10, stride=5),
            CLSTM(32, 32, kernel_size=6),
            nn.Linear(32, len(CLASSES)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Logits: log mel features ``[batch, frames, bands]`` to ``[batch, classes]``."""
        scores: Tensor = self.layers((x - self.mean) / self.std)
        return scores.amax(dim=1)


def features_of(samples: Samples) -> Tensor:
    """Log mel features ``[frames, bands]`` of samples at :data:`RATE`."""
    return torch.from_numpy(LOGMEL.compute([samples]))


def say(word: str, rng: np.random.Generator) -> Samples:
    """Two tones, of pitch and loudness that vary a little."""
    pitch = np.repeat(TONES[word], int(0.15 * RATE)) * rng.uniform(0.93, 1.07)
    return (rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * np.cumsum(pitch) / RATE)).astype(np.float32)


def record(words: Iterable[tuple[str, float]], seconds: float, rng: np.random.Generator) -> Samples:
    """Noise with the words at their times."""
    samples = rng.normal(0, 0.02, int(seconds * RATE)).astype(np.float32)
    for word, second in words:
        sound, start = say(word, rng), int(second * RATE)
        samples[start : start + len(sound)] += sound
    return samples


def clips(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features of clips of a second ``[count, frames, bands]``, and their classes; a word that is cut off is none."""
    rng = np.random.default_rng(seed)
    clips, classes = [], []
    for word, start in zip(rng.choice(list(TONES), count).tolist(), rng.uniform(0.7, 2, count), strict=True):
        clips.append(features_of(record([(word, start)], 3, rng)[RATE : 2 * RATE]))
        classes.append(CLASSES.index(word) if word in CLASSES and 1 <= start <= 1.7 else 0)
    return torch.stack(clips), torch.tensor(classes)


def train(epochs: int = 15) -> Spotter:
    """A spotter that has learned from 600 clips."""
    torch.manual_seed(0)
    x, labels = clips(600, seed=1)
    model = Spotter(x.mean(dim=(0, 1)), x.std(dim=(0, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch]), labels[batch]).backward()
            optimizer.step()
    return model.eval()


def listen(model: Spotter, blocks: Iterable[Samples]) -> Iterator[tuple[float, str]]:
    """Each word once, with the second at which it is recognised, from blocks of 0.1 s of sound."""
    heard, silent_until = np.zeros(0, np.float32), 0
    for number, block in enumerate(blocks, 1):
        heard = np.concatenate([heard, block])[-RATE:]
        if len(heard) < RATE or number < silent_until:
            continue
        with torch.inference_mode():
            probabilities = model(features_of(heard).unsqueeze(0)).softmax(dim=1)[0]
        best = int(probabilities.argmax())
        if best and probabilities[best] > 0.9:
            silent_until = number + RATE // BLOCK
            yield number * BLOCK / RATE, CLASSES[best]


def main() -> None:
    """Train, test, and listen."""
    model = train()
    x, labels = clips(300, seed=2)
    with torch.inference_mode():
        print(f"accuracy on clips: {100 * (model(x).argmax(dim=1) == labels).float().mean():.1f} %")

    rng = np.random.default_rng(3)
    said = [(str(rng.choice(list(TONES))), 2.0 * i + rng.uniform(1, 1.7)) for i in range(29)]
    blocks = np.split(record(said, 60, rng), 60 * RATE // BLOCK)
    print("said: ", ", ".join(f"{word} {second:.1f}" for word, second in said if word in CLASSES))
    print("heard:", ", ".join(f"{word} {second:.1f}" for second, word in listen(model, blocks)))


if __name__ == "__main__":
    main()
