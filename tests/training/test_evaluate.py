from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.errors import InputError
from convrnn.features.extract import Segment
from convrnn.features.store import FeatureStore
from convrnn.models.bundle import Bundle
from convrnn.training.config import TrainingConfig
from convrnn.training.evaluate import evaluate, predictions_csv, predictions_table
from convrnn.training.fit import run
from convrnn.training.predict import log_probabilities
from convrnn.training.result import RunResult


@pytest.fixture(scope="module")
def finished(tones, make, cache, tmp_path_factory) -> RunResult:
    spec = make(training=TrainingConfig(batch_size=8, lr=0.01, max_epochs=3))
    return run(spec, tones, cache_dir=cache, runs_dir=tmp_path_factory.mktemp("runs"))


@pytest.fixture
def bundle(finished) -> Bundle:
    return Bundle.load(finished.directory / "best")


def test_evaluating_the_test_set_gives_the_runs_result(finished, bundle, tones, cache):
    rows = [row for row, speaker in enumerate(tones.table["speaker"]) if speaker in ("s5", "s6")]
    for folder in (cache, None):
        found = evaluate(bundle, tones, rows=rows, cache_dir=folder)
        assert found.scores.ua_recall == finished.ua_recall
        assert found.scores.confusion == finished.confusion
        assert found.classes == finished.classes
        saved = pd.read_csv(finished.directory / "predictions.csv")
        pd.testing.assert_frame_equal(found.predictions, saved, check_dtype=False, check_exact=False, rtol=1e-5)


def test_evaluation_leaves_out_unlabelled_rows(bundle, all_tones, cache):
    for task, count in (("partial", 25), ("pitch", 49)):
        assert len(evaluate(bundle, all_tones.for_task(task), cache_dir=cache).predictions) == count


def relabelled(tones: LabelledCorpus, labels: list[str | None]) -> LabelledCorpus:
    table = tones.table[["file", "speaker"]].assign(pitch=labels)
    return Corpus.from_table(table, name="other").for_task("pitch")


def test_a_label_unknown_to_the_model_is_refused(bundle, tones):
    other = relabelled(tones, ["shrill"] + ["low"] * 48)
    with pytest.raises(InputError, match=r"'shrill' .* classes are high, low, middle"):
        evaluate(bundle, other)


def test_a_corpus_may_have_only_some_of_the_classes(bundle, tones, cache):
    found = evaluate(bundle, relabelled(tones, ["high", "low"] + [None] * 47), cache_dir=cache)
    assert found.scores.ua_recall is None
    assert len(found.predictions) == 2
    assert found.scores.recalls[2] is None


def test_a_corpus_without_labels_is_refused(bundle, tones, all_tones):
    with pytest.raises(InputError, match="no example has a label for 'pitch'"):
        evaluate(bundle, tones, rows=[])
    with pytest.raises(InputError, match="nothing"):
        evaluate(bundle, all_tones.for_task("nothing"))


def test_predict_needs_speakers_or_another_policy(bundle, tones):
    segments = tones.segments()[:4]
    with pytest.raises(InputError, match="needs the speaker of every recording"):
        log_probabilities(bundle, segments)
    with pytest.raises(InputError, match="corpus"):
        log_probabilities(bundle, segments, normalise="corpus")
    result = log_probabilities(bundle, segments, normalise="utterance")
    assert result.shape == (4, 3)
    np.testing.assert_allclose(np.exp(result).sum(axis=1), 1, rtol=1e-5)


def test_predictions_come_in_the_requested_order(bundle, tones, cache):
    segments = tones.segments()[:9]
    store = FeatureStore(cache / "features", bundle.config.features)
    whole = log_probabilities(bundle, segments, normalise="utterance", store=store, batch_size=4)
    single = np.concatenate(
        [log_probabilities(bundle, [segment], normalise="utterance", store=store) for segment in segments]
    )
    np.testing.assert_allclose(whole, single, atol=1e-5)
    assert log_probabilities(bundle, [], normalise="utterance").shape == (0, 3)


def test_the_policy_speaker_uses_all_recordings_of_a_speaker(bundle, tones):
    segments, speakers = tones.segments()[:7], ["s0"] * 7
    together = log_probabilities(bundle, segments, speakers=speakers)
    apart = log_probabilities(bundle, segments, speakers=[str(i) for i in range(7)])
    assert not np.allclose(together, apart, atol=1e-3)
    np.testing.assert_allclose(apart, log_probabilities(bundle, segments, normalise="utterance"), atol=1e-6)


def test_a_part_of_a_recording_is_listed_under_its_file():
    columns = {
        "file": ["a#1.wav", "a#1.wav", "b#2.wav"],
        "start": [0.5, 1.0, None],
        "end": [1.0, None, None],
        "speaker": ["x", "x", "y"],
        "task": ["u", "v", "u"],
    }
    corpus = Corpus.from_table(pd.DataFrame(columns)).for_task("task")
    log_probs = np.log(np.array([[0.9, 0.1], [0.75, 0.25], [0.1, 0.9]], dtype=np.float32))
    table = predictions_table(corpus, [2, 0, 1], ("u", "v"), log_probs)
    assert table["id"].tolist() == ["b#2.wav", "a#1.wav#0.5-1.0", "a#1.wav#1.0-"]
    assert table["file"].tolist() == ["b#2.wav", "a#1.wav", "a#1.wav"]
    assert table["label"].tolist() == ["u", "u", "v"]
    assert table["prediction"].tolist() == ["u", "u", "v"]
    lines = predictions_csv(table).splitlines()
    assert lines[0] == "id,file,speaker,label,prediction,p_u,p_v"
    assert np.float32(lines[1].split(",")[5]) == np.exp(log_probs[0, 0])


def test_an_unreadable_recording_is_named(bundle, tmp_path: Path):
    (tmp_path / "noise.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"noise\.wav"):
        log_probabilities(bundle, [Segment(str(tmp_path / "noise.wav"))], normalise="utterance")
