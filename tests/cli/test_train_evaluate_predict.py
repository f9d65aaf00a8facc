import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from convrnn.models.bundle import Bundle
from convrnn.training.predict import log_probabilities


def folder_of(corpus):
    return Path(corpus.removeprefix("csv:")).parent


@pytest.fixture(scope="module")
def scores(convrnn, trained, corpus):
    said = convrnn("evaluate", trained, corpus, "--json")
    assert said.code == 0, said.err
    return json.loads(said.out)


def test_train_prints_the_result_and_the_models_folder(convrnn, trained, corpus):
    command = ("train", corpus, "--task", "pitch", "--model", "conv", "--max-epochs", 2, "--out", trained.parent)
    said = convrnn(*command)
    assert said.code == 0
    assert "1 of 1 runs were already finished" in said.err
    assert f"saved model    {trained / 'best'}" in said.out.splitlines()
    facts = json.loads(convrnn(*command, "--json").out)
    saved = json.loads((trained / "result.json").read_text())
    assert facts["bundle"] == str(trained / "best")
    assert (facts["ua_recall"], facts["accuracy"], facts["epochs"]) == (saved["ua_recall"], saved["accuracy"], 2)


def test_the_protocols_defaults_can_be_changed(convrnn, corpus, tmp_path):
    specs = []
    for split_seed in (0, 1):
        out = tmp_path / str(split_seed)
        said = convrnn(
            *("train", corpus, "--task", "pitch", "--model", "conv", "--max-epochs", 1, "--out", out),
            *("--split", "random", "--split-seed", split_seed, "--patience", 3, "--learning-rate", 0.01),
        )
        assert said.code == 0, said.err
        [spec] = [json.loads(path.read_text()) for path in out.glob("*/spec.json")]
        assert (spec["training"]["patience"], spec["training"]["lr"], spec["seed"]) == (3, 0.01, 0)
        specs.append(spec)
    assert specs[0]["split"] != specs[1]["split"]
    refused = convrnn("train", corpus, "--task", "pitch", "--learning-rate", 0, "--out", tmp_path)
    assert refused.code == 2


def test_evaluating_on_the_test_set_gives_the_runs_own_result(scores, trained):
    saved = json.loads((trained / "result.json").read_text())
    assert scores["utterances"] == 8
    assert scores["ua_recall"] == pytest.approx(saved["ua_recall"])
    assert scores["accuracy"] == pytest.approx(saved["accuracy"])
    assert scores["confusion"] == saved["confusion"]
    assert scores["recalls"] == pytest.approx(saved["recalls"])


def test_evaluate_names_speakers_seen_in_training(convrnn, trained, corpus):
    quiet = convrnn("evaluate", trained / "best", corpus)
    assert "warning" not in quiet.err
    assert "pitch, 8 utterances" in quiet.out
    loud = convrnn("evaluate", trained / "best", corpus, "--partition", "all")
    assert "warning: the model was trained or selected on 6 of 8 speakers" in loud.err
    assert "pitch, 32 utterances" in loud.out


def test_speakers_of_another_corpus_with_the_same_names_give_a_warning(convrnn, trained, corpus, tmp_path):
    for path in sorted(folder_of(corpus).iterdir())[:12]:
        shutil.copy(path, tmp_path)
    lines = (folder_of(corpus) / "data.csv").read_text().splitlines()[:9]
    (tmp_path / "data.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines) + "\n")
    said = convrnn("evaluate", trained, f"csv:{tmp_path / 'data.csv'}")
    assert said.code == 0, said.err
    assert "8 utterances" in said.out
    assert "warning: 2 of 2 speakers have names of speakers" in said.err


def test_a_model_can_be_used_from_any_folder(convrnn, trained, corpus, tmp_path, scores):
    shutil.copytree(trained / "best", tmp_path / "model")
    said = convrnn("evaluate", tmp_path / "model", corpus, "--json")
    assert said.code == 0
    assert json.loads(said.out) == scores
    assert said.err.count("warning: ") == 1
    assert "its training speakers are unknown" in said.err


def test_file_names_are_not_formulas_in_the_csv_of_predict(convrnn, trained, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("=1+1.wav", "plain.wav"):
        shutil.copy(folder_of(corpus) / "s7-1.wav", name)
    said = convrnn("predict", trained, "./=1+1.wav", "=1+1.wav", "plain.wav", "=gone.wav", "--speaker", "s7")
    rows = list(csv.DictReader(said.out.splitlines()))
    assert [row["file"] for row in rows][1:] == ["'=1+1.wav", "plain.wav", "'=gone.wav"]
    assert rows[-1]["error"].startswith("'=gone.wav: ")


def flip(path, place=-10):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["best/config.json", "best/model.safetensors", "spec.json", "result.json"])
def test_a_model_changed_in_its_run_is_refused(convrnn, trained, corpus, tmp_path, name):
    run = tmp_path / trained.name
    shutil.copytree(trained, run)
    flip(run / name)
    for command in (("evaluate", run, corpus), ("predict", run / "best", folder_of(corpus) / "s7-1.wav")):
        said = convrnn(*command, *(("--speaker", "s7") if command[0] == "predict" else ()))
        assert said.code == 2
        assert f"{run}: the finished run is damaged ({name}" in said.err
        assert "delete the folder to do the run again" in said.err


def test_a_finished_run_without_a_result_is_refused_before_any_work(convrnn, trained, corpus, tmp_path):
    out = tmp_path / "runs"
    shutil.copytree(trained, out / trained.name)
    (out / trained.name / "result.json").unlink()
    cache = tmp_path / "cache"
    command = ("train", corpus, "--task", "pitch", "--model", "conv", "--max-epochs", 2, "--out", out)
    said = convrnn(*command, "--cache", cache)
    assert said.code == 2
    assert f"{trained.name}: the finished run is damaged (result.json is missing); delete the folder" in said.err
    assert not (cache / "features").exists()
    assert [path.name for path in out.iterdir()] == [trained.name]
    shutil.rmtree(out / trained.name)
    assert convrnn(*command).code == 0


def test_a_policy_other_than_the_models_gives_a_warning(convrnn, trained, corpus):
    for command in (("evaluate", trained, corpus), ("predict", trained, folder_of(corpus) / "s7-1.wav")):
        said = convrnn(*command, "--normalise", "utterance")
        assert said.code == 0, said.err
        [line] = [line for line in said.err.splitlines() if line.startswith("warning: ")]
        assert line.startswith("warning: the model was trained with features standardised per speaker, not per utter")
        assert line.endswith("train one with features standardised per utterance instead")
    assert "warning" not in convrnn("evaluate", trained, corpus, "--normalise", "speaker").err


def test_evaluation_of_one_class_has_no_ua_recall(convrnn, trained, corpus, tmp_path):
    for path in folder_of(corpus).glob("s7-*.wav"):
        shutil.copy(path, tmp_path)
    (tmp_path / "data.csv").write_text("file,speaker,pitch\ns7-0.wav,s7,low\ns7-2.wav,s7,low\n")
    said = convrnn("evaluate", trained, f"csv:{tmp_path / 'data.csv'}")
    assert said.code == 0, said.err
    assert "UA recall  undefined, since there is no example of high" in said.out
    assert json.loads(convrnn("evaluate", trained, f"csv:{tmp_path / 'data.csv'}", "--json").out)["ua_recall"] is None


@pytest.fixture(scope="module")
def test_predictions(trained):
    with (trained / "predictions.csv").open() as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_predicting_the_test_set_gives_the_runs_own_predictions(convrnn, trained, corpus, test_predictions, tmp_path):
    lines = [
        "file,speaker",
        *(f"{folder_of(corpus) / name},{row['speaker']}" for name, row in test_predictions.items()),
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    said = convrnn("predict", trained, tmp_path / "list.csv")
    assert said.code == 0, said.err
    assert said.err == ""
    rows = list(csv.DictReader(said.out.splitlines()))
    assert list(rows[0]) == ["file", "prediction", "p_high", "p_low", "error", "warning"]
    for row, (name, expected) in zip(rows, test_predictions.items(), strict=True):
        assert Path(row["file"]).name == name
        assert row["prediction"] == expected["prediction"]
        assert float(row["p_high"]) == pytest.approx(float(expected["p_high"]), abs=2e-6)


def test_one_speaker_can_be_named_for_all_recordings(convrnn, trained, corpus, test_predictions):
    names = [name for name, row in test_predictions.items() if row["speaker"] == "s7"]
    said = convrnn("predict", trained, *(folder_of(corpus) / name for name in names), "--speaker", "anyone", "--json")
    rows = json.loads(said.out)
    assert [row["prediction"] for row in rows] == [test_predictions[name]["prediction"] for name in names]
    assert all(sum(row["probabilities"].values()) == pytest.approx(1) for row in rows)


def test_a_speaker_with_one_recording_gives_a_warning(convrnn, trained, corpus, tmp_path):
    said = convrnn("predict", trained, folder_of(corpus) / "s7-1.wav", "--speaker", "anna")
    assert said.err.startswith("warning: speaker anna has only one recording")
    files = [f"{folder_of(corpus) / name}.wav" for name in ("s6-1", "s7-1", "s7-2", "s7-3")]
    rows = zip(files, ("a", "b", "c", "c"), strict=True)
    (tmp_path / "list.csv").write_text("\n".join(["file,speaker", *map(",".join, rows)]) + "\n")
    assert convrnn("predict", trained, tmp_path / "list.csv").err.startswith(
        "warning: 2 speakers have only one recording"
    )


def test_a_speaker_without_effect_gives_a_warning(convrnn, trained, corpus):
    said = convrnn("predict", trained, folder_of(corpus) / "s7-1.wav", "--speaker", "anna", "--normalise", "utterance")
    assert said.err.splitlines()[-1].startswith("--speaker anna has no effect")


def test_another_policy_changes_the_predictions(convrnn, trained, corpus):
    from convrnn.features.extract import Segment

    clip = folder_of(corpus) / "s7-1.wav"
    [row] = json.loads(convrnn("predict", trained, clip, "--normalise", "utterance", "--json").out)
    bundle = Bundle.load(trained / "best")
    expected = np.exp(log_probabilities(bundle, [Segment(str(clip))], normalise="utterance"))[0]
    assert list(row["probabilities"].values()) == pytest.approx(expected.tolist())


def test_parts_of_a_file_are_listed_with_their_times(convrnn, trained, corpus, tmp_path):
    shutil.copy(folder_of(corpus) / "s7-1.wav", tmp_path / "clip.wav")
    (tmp_path / "list.csv").write_text("file,speaker,start,end\nclip.wav,a,,0.2\nclip.wav,a,0.1,\n")
    said = convrnn("predict", trained, tmp_path / "list.csv")
    assert said.code == 0, said.err
    rows = list(csv.DictReader(said.out.splitlines()))
    assert [(row["start"], row["end"]) for row in rows] == [("", "0.2"), ("0.1", "")]
    assert rows[0]["p_low"] != rows[1]["p_low"]
    # In the form that spreadsheet programs write, which a corpus's CSV may also have.
    (tmp_path / "list.csv").write_text("\ufefffile; speaker;start;end\nclip.wav ;a; ;0.2\n\nclip.wav;a;0.1;\n")
    assert convrnn("predict", trained, tmp_path / "list.csv").out == said.out


def test_a_damaged_spec_beside_a_runs_model_is_an_error(convrnn, trained, corpus, tmp_path):
    # Otherwise nobody would know the training speakers, and the model could be tested on them.
    run = tmp_path / "run.partial"
    shutil.copytree(trained / "best", run / "best")
    (run / "spec.json").write_text("[" * 100_000)
    said = convrnn("evaluate", run, corpus)
    assert said.code == 2
    assert "spec.json: is not valid JSON (its brackets nest too deeply)" in said.err
    run = run.rename(tmp_path / "run")
    for command in (("evaluate", run, corpus), ("export", run, tmp_path / "model.onnx")):
        said = convrnn(*command)
        assert said.code == 2
        assert "run: the finished run is damaged (result.json is missing); delete the folder" in said.err
    shutil.move(run / "best", run / "model")
    assert convrnn("evaluate", run / "model", corpus).code == 0
