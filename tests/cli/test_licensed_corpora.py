import json
from pathlib import Path

import pytest

from convrnn.corpora.registry import open_corpus
from convrnn.corpora.splits import make_splits
from licensed_corpora import DEVEL, FIVE, LABEL_FOLDER, TRAIN, agender_rows, write_agender, write_aibo

SHORT = ("--model", "conv", "--max-epochs", 1, "--batch-size", 8)


@pytest.fixture(scope="module")
def aibo(tmp_path_factory):
    return f"aibo:{write_aibo(tmp_path_factory.mktemp('aibo'))}"


@pytest.fixture(scope="module")
def agender(tmp_path_factory):
    return f"agender:{write_agender(tmp_path_factory.mktemp('agender'))}"


def spec_of(result):
    return json.loads((Path(result["bundle"]).parent / "spec.json").read_text())


def test_train_and_evaluate_on_aibo(convrnn, aibo, tmp_path):
    said = convrnn("train", aibo, "--task", "emotion5", *SHORT, "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    result = json.loads(said.out)
    assert (result["split"], result["task"], result["epochs"]) == ("partitions", "emotion5", 1)
    spec = spec_of(result)
    assert spec["features"]["sample_rate"] == 16000
    assert spec["split"]["validation"] == ["Ohm_01", "Ohm_02", "Ohm_03", "Ohm_04", "Ohm_05"]
    assert spec["split"]["test"] == ["Mont_01", "Mont_02"]
    # There is a warning that this is not the whole corpus, but only for this task.
    warnings = [line for line in said.err.splitlines() if line.startswith("warning: ")]
    assert warnings[0].startswith(f"warning: {aibo}: utterances differ from the published counts: Ohm has 40, not 9959")
    assert [line.partition(" differ")[0] for line in warnings] == [
        f"warning: {aibo}: {what}" for what in ("utterances", "speakers", "classes of emotion5")
    ]
    tested = convrnn("evaluate", result["bundle"], aibo, "--json")
    assert json.loads(tested.out)["ua_recall"] == pytest.approx(result["ua_recall"])


def test_train_and_evaluate_on_agender(convrnn, agender, tmp_path):
    arguments = ("--task", "age", "--setting", "paralinguistic", *SHORT, "--split-seed", 3, "--out", tmp_path)
    said = convrnn("train", agender, *arguments, "--json")
    assert said.code == 0, said.err
    result = json.loads(said.out)
    spec = spec_of(result)
    assert (result["split"], spec["features"]["sample_rate"]) == ("partitions", 8000)
    # One of three speakers per group; the other two are for training.
    assert [speaker[0] for speaker in spec["split"]["validation"]] == list("1234567")
    assert [speaker[0] for speaker in spec["split"]["train"]] == list("11223344556677")
    [drawn] = make_splits(open_corpus(agender).for_task("age"), "partitions", seed=3)
    assert spec["split"]["validation"] == list(drawn.validation)
    tested = convrnn("evaluate", result["bundle"], agender, "--json")
    assert json.loads(tested.out)["ua_recall"] == pytest.approx(result["ua_recall"])


def test_check_reports_an_incomplete_copy(convrnn, tmp_path):
    aibo = write_aibo(tmp_path / "aibo")
    (aibo / "wav" / "Ohm_07_001_00.wav").unlink()
    (aibo / "wav" / "Ohm_07_001_00 copy.wav").write_bytes(b"")
    (aibo / LABEL_FOLDER / FIVE).unlink()
    said = convrnn("check", f"aibo:{aibo}")
    assert said.code == 1
    assert f"error: {aibo / 'wav' / 'Ohm_07_001_00.wav'}: audio file does not exist" in said.out
    assert "Ohm_07_001_00 copy.wav" in said.out
    assert said.out.splitlines()[-1] == "1 error, 5 warnings"
    report = json.loads(convrnn("check", f"aibo:{aibo}", "--json").out)
    assert [(d["severity"], d["kind"]) for d in report["defects"]] == [
        ("error", "missing-file"),
        ("warning", "missing-list"),
        ("warning", "unlisted-file"),
        ("warning", "published-utterances"),
        ("warning", "published-speakers"),
        ("warning", "published-classes"),
    ]


def test_check_of_agender(convrnn, agender):
    said = convrnn("check", agender, "--task", "gender")
    assert said.code == 0
    assert "Sample rates: 8000 Hz: 28 files" in said.out
    assert "warning: speakers differ from the published counts: train has 21, not 471; test has 7, not 299;" in said.out
    assert "held out" not in said.out


def test_missing_lists_and_audio_stop_training(convrnn, tmp_path):
    rows = agender_rows()
    there = [row[0] for name in (TRAIN, DEVEL) for row in rows[name][2:]]
    root = write_agender(tmp_path / "agender", rows, audio=there)
    (root / "wav_traindevel" / "more.raw").write_bytes(b"more")
    aibo = write_aibo(tmp_path / "aibo")
    (aibo / LABEL_FOLDER / FIVE).unlink()
    for corpus, task, told in (
        (f"aibo:{aibo}", "emotion5", f"/{FIVE}, which does not exist"),
        (f"aibo:{root}", "emotion2", f"aibo: {root} has neither"),
        (f"agender:{aibo}", "age", f"agender: {aibo} has no {TRAIN}"),
        (f"agender:{root}", "age", f"agender:{root}: 4 errors in 28 utterances: missing-file (4)"),
    ):
        said = convrnn("train", corpus, "--task", task, *SHORT, "--out", tmp_path / "out")
        assert said.code == 2
        error = said.err.splitlines()[-1]
        assert error.startswith("convrnn: error: ")
        assert told in error
        assert not (tmp_path / "out").exists()
    # Files that no list names are reported even if an error follows.
    assert said.err.startswith(f"warning: agender:{root}: 1 audio file is in no list and left out: ")
