"""The example that writes embeddings, with a small model of speech that nobody has trained."""

import sys

import pytest
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from convrnn.corpora import open_corpus
from convrnn.corpora.check import check_corpus
from convrnn.features.frames import FramesConfig, read_frames
from examples import speech_embeddings
from tones import write_tone


@pytest.fixture
def model(tmp_path):
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=20, conv_dim=(8, 8),
        conv_kernel=(10, 8), conv_stride=(10, 32), num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2Model(config).save_pretrained(tmp_path / "model")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def test_the_written_corpus_has_the_labels_and_the_frames(model, tmp_path, monkeypatch, capsys):
    lines = ["file,speaker,pitch"]
    for speaker in range(4):
        for number, name in enumerate(("low", "high")):
            write_tone(tmp_path / f"{speaker}{number}.wav", 300 * (1 + 4 * number), seed=2 * speaker + number)
            lines.append(f"{speaker}{number}.wav,s{speaker},{name}")
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    arguments = [model, f"csv:{tmp_path / 'data.csv'}", str(tmp_path / "out"), "--task", "pitch", "--layer", "1"]
    monkeypatch.setattr(sys, "argv", ["speech_embeddings.py", *arguments])
    speech_embeddings.main()
    name = f"csv:{tmp_path / 'out' / 'frames.csv'}"
    assert capsys.readouterr().out == f"8 arrays of 16 features per frame; the corpus is {name}\n"
    corpus = open_corpus(name)
    data = corpus.for_task("pitch")
    assert data.labels == ["low", "high"] * 4
    assert data.speakers == ("s0", "s1", "s2", "s3")
    assert data.default_features == FramesConfig(width=16)
    # 0.3 s in steps of 20 ms.
    assert len(read_frames(data.table["file"].iloc[0])) == 15
    assert check_corpus(data).errors == []
