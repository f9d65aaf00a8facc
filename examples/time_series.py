"""Standard convolution against a convolutional LSTM on multivariate time series.

JapaneseVowels (Kudo, Toyama & Shimbo 1999): nine men say "ae"; an utterance is 7 to 29 frames of twelve cepstral
coefficients, and its class is the speaker. There are 270 utterances for training and 370 for the test. The package aeon
contains the data. Commands::

    pip install --no-deps --target build/aeon aeon
    python examples/time_series.py build/aeon/aeon/datasets/data/JapaneseVowels

It trains the same network with either layer and five seeds, on padded batches with lengths, and prints the accuracy on
the test set of every run, then mean and standard deviation.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from convrnn.nn import CLSTM, LSTM, ConvFeatures, MeanSoftmax

LAYERS = {"conv": ConvFeatures, "clstm": CLSTM}
KERNEL_SIZE = 5
SEEDS = 5
EPOCHS = 30


class Classifier(nn.Module):
    """Features of windows, an LSTM over them in both directions, and the mean of its predictions."""

    def __init__(self, layer: str, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = LAYERS[layer](in_features, 64, KERNEL_SIZE)
        self.lstm = LSTM(64, 64, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(128, num_classes)
        self.readout = MeanSoftmax()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Log-probabilities: ``[batch, frames, in_features]`` to ``[batch, num_classes]``."""
        features = self.dropout(self.features(x, lengths))
        lengths = self.features.output_lengths(lengths)
        hidden = self.dropout(self.lstm(features, lengths))
        log_probabilities: Tensor = self.readout(self.output(hidden), lengths)
        return log_probabilities


def read(file: Path) -> tuple[list[Tensor], list[str]]:
    """The series of a ``.ts`` file, each ``[frames, dimensions]``, and their labels.

    Raises:
        ValueError: if there is no series, or one that cannot be read, is too short or has other dimensions.
    """
    series: list[Tensor] = []
    labels = []
    for number, line in enumerate(file.read_text(encoding="utf-8").partition("@data")[2].split(), 1):
        *dimensions, label = line.split(":")
        try:
            x = torch.stack([torch.tensor([*map(float, values.split(","))]) for values in dimensions], dim=1)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{file}: series {number} is not numbers by dimension and a label ({error})") from None
        if len(x) < KERNEL_SIZE or not x.isfinite().all():
            raise ValueError(f"{file}: series {number} must be {KERNEL_SIZE} frames or more of finite values")
        if series and len(dimensions) != series[0].size(1):
            raise ValueError(f"{file}: series {number} has {len(dimensions)} dimensions, the first {series[0].size(1)}")
        series.append(x)
        labels.append(label)
    if not series:
        raise ValueError(f"{file}: has no series after a line @data")
    return series, labels


def accuracy(layer: str, seed: int, train: tuple[list[Tensor], Tensor], test: tuple[list[Tensor], Tensor]) -> float:
    """Percentage of the test set that a network classifies correctly after training with one seed."""
    torch.manual_seed(seed)
    frames = torch.cat(train[0])
    mean, std = frames.mean(dim=0), frames.std(dim=0)

    def batch_of(series: list[Tensor]) -> tuple[Tensor, Tensor]:
        return pad_sequence([(x - mean) / std for x in series], batch_first=True), torch.tensor(
            [len(x) for x in series]
        )

    model = Classifier(layer, frames.size(1), int(train[1].max()) + 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    for _ in range(EPOCHS):
        for indices in torch.randperm(len(train[0])).split(32):
            optimizer.zero_grad()
            F.nll_loss(model(*batch_of([train[0][i] for i in indices])), train[1][indices]).backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        return 100 * float((model(*batch_of(test[0])).argmax(dim=1) == test[1]).float().mean())


def main() -> None:
    """Train with either layer and every seed."""
    parser = argparse.ArgumentParser(description="Compare conv and clstm on multivariate time series.")
    parser.add_argument("folder", type=Path, help="with the files NAME_TRAIN.ts and NAME_TEST.ts; NAME is the folder's")
    folder = parser.parse_args().folder
    try:
        (series, labels), (others, expected) = (read(folder / f"{folder.name}_{part}.ts") for part in ("TRAIN", "TEST"))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    classes = sorted(set(labels))
    if unknown := sorted(set(expected) - set(classes)):
        parser.error(f"{folder}: the test set has classes that the training set lacks: {', '.join(unknown)}")
    if series[0].size(1) != others[0].size(1):
        parser.error(
            f"{folder}: series have {series[0].size(1)} dimensions for training, {others[0].size(1)} for the test"
        )
    train = series, torch.tensor([classes.index(label) for label in labels])
    test = others, torch.tensor([classes.index(label) for label in expected])

    for layer in LAYERS:
        found = torch.tensor([accuracy(layer, seed, train, test) for seed in range(SEEDS)])
        each = ", ".join(f"{value:.1f}" for value in found)
        print(f"{layer}: {each}; mean {found.mean():.1f} ± {found.std():.1f} %")


if __name__ == "__main__":
    main()
