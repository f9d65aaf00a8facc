"""Frames of a pretrained model of speech (wav2vec 2.0, HuBERT, WavLM) as a corpus for convrnn.

It writes the hidden states of one layer for every recording of a corpus as a ``.npy`` file, and a table of them, which
all commands take in place of recordings. MODEL is a folder as ``save_pretrained`` writes it, or a name on the Hugging
Face Hub. Commands::

    pip install 'convrnn[speech]' transformers
    python examples/speech_embeddings.py MODEL csv:speech.csv embeddings --task emotion
    convrnn compare csv:embeddings/frames.csv --task emotion --split folds:5 --out results

It prints the number of arrays and of features per frame. Recordings are resampled to 16 kHz, as these models need.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor, AutoModel, PreTrainedModel

from convrnn.corpora import open_corpus

RATE = 16_000


def embed(model: PreTrainedModel, samples: NDArray[np.float32], layer: int) -> NDArray[np.float32]:
    """The hidden states ``[frames, features]`` of a recording.

    Args:
        model: In evaluation mode.
        samples: ``[samples]`` at :data:`RATE`, as the model's feature extractor prepares them.
        layer: Number of the layer; 0 is the output of the convolutions, -1 the last one.
    """
    with torch.inference_mode():
        states = model(torch.from_numpy(samples)[None], output_hidden_states=True).hidden_states
    found: NDArray[np.float32] = states[layer][0].float().numpy()
    return found


def write(model_name: str, corpus_name: str, task: str, folder: Path, layer: int) -> pd.DataFrame:
    """Writes an array for every labelled utterance and the table ``frames.csv``, and returns the table."""
    prepare, model = AutoFeatureExtractor.from_pretrained(model_name), AutoModel.from_pretrained(model_name).eval()
    data = open_corpus(corpus_name).for_task(task)
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for number, segment in enumerate(data.segments()):
        samples, _ = segment.read(sample_rate=RATE)
        samples = prepare(samples, sampling_rate=RATE, return_tensors="np").input_values[0]
        names.append(f"{number:06}.npy")
        np.save(folder / names[-1], embed(model, samples, layer))
    table = data.table[["speaker", "partition"]].assign(**{"frames": names, task: data.labels})
    table.to_csv(folder / "frames.csv", index=False)
    return table


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("corpus", metavar="CORPUS")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    parser.add_argument("--task", required=True, help="the label column")
    parser.add_argument("--layer", type=int, default=-1, help="the layer whose states are written; by default the last")
    chosen = parser.parse_args()
    table = write(chosen.model, chosen.corpus, chosen.task, chosen.folder, chosen.layer)
    width = np.load(chosen.folder / table["frames"].iloc[0], mmap_mode="r").shape[1]
    print(f"{len(table)} arrays of {width} features per frame; the corpus is csv:{chosen.folder / 'frames.csv'}")


if __name__ == "__main__":
    main()
