"""Multivariate time series of different lengths: standard convolution against a convolutional LSTM on JapaneseVowels.

JapaneseVowels (Kudo, Toyama & Shimbo 1999): nine men say "ae"; an utterance is 7 to 29 frames of twelve cepstral
coefficients, and its class is the speaker. There are 270 utterances for training and 370 for the test. The package aeon
contains the data. Commands::

    pip install --no-deps --target build/aeon aeon
    python examples/time_series.py build/aeon/aeon/datasets/data/JapaneseVowels

It trains ``convrnn.sklearn.ConvRNNClassifier`` with either layer, otherwise with defaults, and five seeds, and prints
the accuracy on the test set for every seed, then mean and standard deviation.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convrnn.sklearn import ConvRNNClassifier

FRONT_ENDS = ("conv", "clstm")
SEEDS = 5


def read(file: Path) -> tuple[list[NDArray[np.float64]], list[str]]:
    """The series of a ``.ts`` file, each ``[frames, dimensions]``, and their labels.

    Raises:
        ValueError: if there is no series, or one that is not finite numbers, as many in every dimension.
    """
    series, labels = [], []
    for number, line in enumerate(file.read_text(encoding="utf-8").partition("@data")[2].split(), 1):
        *dimensions, label = line.split(":")
        try:
            x = np.array([[*map(float, values.split(","))] for values in dimensions]).T
        except ValueError as error:
            raise ValueError(f"{file}: series {number} is not numbers by dimension and a label ({error})") from None
        if not np.isfinite(x).all():
            raise ValueError(f"{file}: series {number} has values that are not finite")
        series.append(x)
        labels.append(label)
    if not series:
        raise ValueError(f"{file}: has no series after a line @data")
    return series, labels


def main() -> None:
    """Train with either layer and every seed."""
    parser = argparse.ArgumentParser(description="Compare conv and clstm on multivariate time series.")
    parser.add_argument("folder", type=Path, help="with the files NAME_TRAIN.ts and NAME_TEST.ts; NAME is the folder's")
    folder = parser.parse_args().folder
    try:
        train, test = (read(folder / f"{folder.name}_{part}.ts") for part in ("TRAIN", "TEST"))
        for front_end in FRONT_ENDS:
            found = []
            for seed in range(SEEDS):
                classifier = ConvRNNClassifier(front_end, random_state=seed).fit(*train)
                found.append(100 * classifier.score(*test))
            each = ", ".join(f"{value:.1f}" for value in found)
            print(f"{front_end}: {each}; mean {np.mean(found):.1f} ± {np.std(found, ddof=1):.1f} %", flush=True)
    except (OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
