import json
import shutil
from pathlib import Path

import pytest
import soundfile

from convrnn.cli.console import tell_error
from convrnn.corpora.registry import open_corpus


def test_check_finds_nothing_wrong_with_a_good_corpus(convrnn, corpus):
    said = convrnn("check", corpus)
    assert said.code == 0
    assert corpus in said.out
    assert "Sample rates: 8000 Hz: 32 files" in said.out
    assert "0 errors, 0 warnings" in said.out.splitlines()[-1]
    table = [line.split() for line in said.out.splitlines()]
    assert ["train", "16", "4", "0.00", "0.30", "0.30", "0.30"] in table
    assert ["low", "8", "4", "4"] in table


def test_check_of_a_bad_corpus_exits_with_one(convrnn, tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.0] * 4000, 8000)
    lines = ["file,speaker,[mood]", "a.wav,anna,[bold]", *(f"gone{number}.wav,b,calm" for number in range(25))]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    said = convrnn("check", f"csv:{tmp_path / 'data.csv'}")
    assert said.code == 1
    assert said.out.count("gone") == 20
    assert "… and 5 more of the kind missing-file; --all lists them" in said.out
    assert "too-few" not in said.out
    assert "[bold]" in said.out  # the name of a class is not read as markup
    everything = json.loads(convrnn("check", f"csv:{tmp_path / 'data.csv'}", "--json").out)
    assert sum(defect["kind"] == "missing-file" for defect in everything["defects"]) == 25
    assert {"silence", "too-few-speakers"} <= {defect["kind"] for defect in everything["defects"]}


def test_check_lists_everything_with_the_option_all(convrnn, tmp_path):
    lines = ["file,speaker,mood", *(f"gone{number}.wav,b,calm" for number in range(25))]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    said = convrnn("check", f"csv:{tmp_path / 'data.csv'}", "--all")
    assert (said.code, said.out.count("gone"), "more of the kind" in said.out) == (1, 25, False)


def test_check_lists_the_defects_of_a_table(convrnn, tmp_path):
    lines = ["file,speaker,mood,start", *(f'{number}.wav,b,calm,"0,{number}"' for number in range(30)), "last.wav"]
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    spec = f"csv:{tmp_path / 'data.csv'}"
    said = convrnn("check", spec)
    assert (said.code, said.out.count("decimal comma")) == (2, 20)
    assert "… and 11 more of the kind table; --all lists them" in said.out
    assert "line 2: column 'start' has '0,0' with a decimal comma; write a point: 0.0" in said.out
    assert "the table has 31 defects; the audio is checked once they are fixed" in said.err
    said = convrnn("check", spec, "--all")
    assert (said.code, said.out.count("decimal comma"), said.out.count("last.wav")) == (2, 30, 0)
    assert "line 32: 1 values" in said.out
    said = convrnn("check", spec, "--json")
    defects = json.loads(said.out)["defects"]
    assert said.code == 2
    assert len(defects) == 31
    assert {(d["severity"], d["kind"]) for d in defects} == {("error", "table")}
    assert (defects[30]["line"], defects[0]["column"]) == (32, "start")


def test_check_finds_one_person_under_two_names(convrnn, corpus, tmp_path):
    source = Path(corpus.removeprefix("csv:")).parent
    shutil.copytree(source, tmp_path / "tones")
    table = tmp_path / "tones" / "data.csv"
    spec = f"csv:{table}"
    for number in (0, 1):
        samples, rate = soundfile.read(source / f"s0-{number}.wav", dtype="int16")
        soundfile.write(tmp_path / "tones" / f"again-{number}.flac", samples, rate)
    copies = ["again-0.flac,s9,low,train", "again-1.flac,s9,high,train"]
    table.write_text("\n".join([*table.read_text().splitlines(), *copies]) + "\n")
    said = convrnn("check", spec)
    assert said.code == 1
    assert "error: speakers 's0' and 's9' have 2 recordings in common: s0-0.wav = again-0.flac" in said.out
    said = convrnn("check", spec, "--same-speaker", "s0=s9")
    assert (said.code, said.out.splitlines()[-1]) == (0, "0 errors, 2 warnings")
    said = convrnn("check", spec, "--drop-duplicates")
    assert (said.code, said.out.splitlines()[-1]) == (0, "0 errors, 0 warnings")
    assert "2 copies left out: again-0.flac, again-1.flac" in said.err
    assert convrnn("check", spec, "--same-speaker", "s0").code == 2
    assert "no speaker is called 'x'" in convrnn("check", spec, "--same-speaker", "s0=x").err


def test_check_uses_the_singular_for_one(convrnn, corpus, tmp_path):
    source = Path(corpus.removeprefix("csv:")).parent
    shutil.copytree(source, tmp_path / "tones")
    samples, _ = soundfile.read(source / "s0-0.wav")
    soundfile.write(tmp_path / "tones" / "s0-0.wav", samples, 4000)
    said = convrnn("check", f"csv:{tmp_path / 'tones' / 'data.csv'}")
    assert said.code == 0
    assert "Sample rates: 4000 Hz: 1 file, 8000 Hz: 31 files" in said.out
    assert said.out.splitlines()[-1] == "0 errors, 1 warning"


def test_check_can_be_limited_to_one_task(convrnn, corpus):
    assert convrnn("check", corpus, "--task", "pitch").code == 0
    said = convrnn("check", corpus, "--task", "mood")
    assert said.code == 2
    assert "unknown task 'mood'" in said.err


def test_synthesising_the_demo_shows_progress(convrnn, corpus, monkeypatch):
    def synthesise(_, on_progress):
        on_progress(1, 2)
        on_progress(2, 2)
        return open_corpus(corpus)

    monkeypatch.setattr("convrnn.corpora.demo.open_demo", synthesise)
    assert convrnn("check", "demo").err.startswith("synthesis: 2 of 2 in ")
    assert "synthesis" not in convrnn("check", corpus).err


def test_models_describes_every_model(convrnn):
    rows = json.loads(convrnn("models", "--setting", "emotion", "--json").out)
    by_name = {row["model"]: row for row in rows}
    # Two layers of windows of 5 with a shift of 2, each followed by pooling of 2 by 2: 1 + (4 + 2) + 4 * (4 + 2) = 31.
    assert by_name["clstm"]["receptive_field_frames"] == 31
    assert by_name["clstm"]["receptive_field_ms"] == 30 * 10 + 25
    assert by_name["clstm"]["output_rate_hz"] == pytest.approx(100 / 16)
    assert by_name["baseline"]["output_rate_hz"] == pytest.approx(100)
    # LSTM: input, recurrent, bias, peepholes, initial states; dense; softmax.
    lstm = 4 * 256 * (26 + 256 + 1) + 3 * 256 + 2 * 256
    assert by_name["baseline"]["parameters"] == lstm + 400 * 257 + 5 * 401
    assert by_name["extended-clstm"]["parameters"] - by_name["clstm"]["parameters"] == 4 * (26 + 100) * 4 * 100


def test_options_of_models_change_the_number_of_parameters(convrnn):
    few, many = (
        json.loads(convrnn("models", "--classes", classes, "--in-features", 26, "--json").out) for classes in (2, 7)
    )
    assert {row["setting"] for row in few} == {"emotion", "paralinguistic"}
    assert all(b["parameters"] - a["parameters"] == 5 * 401 for a, b in zip(few, many, strict=True))


def test_two_names_of_one_model_are_shown_as_equal(convrnn):
    rows = {(row["setting"], row["model"]): row for row in json.loads(convrnn("models", "--json").out)}
    assert rows["emotion", "clstm"]["same_as"] == ["clstm-cell-last"]
    assert rows["paralinguistic", "clstm"]["same_as"] == ["clstm-cell-max"]
    assert rows["paralinguistic", "clstm-cell-max"]["same_as"] == ["clstm"]
    assert rows["emotion", "conv"]["same_as"] == []
    assert " clstm = clstm-cell-max  " in convrnn("models", "--setting", "paralinguistic").out


def test_the_table_of_models_has_units(convrnn):
    said = convrnn("models", "--setting", "paralinguistic")
    lines = {words[0]: " ".join(words[1:]) for words in map(str.split, said.out.splitlines()) if words}
    assert lines["baseline"].endswith("10 ms 100 Hz 1 frame, 25 ms")
    assert lines["clstm"].endswith("40 ms 25 Hz 7 frames, 85 ms")


def test_a_long_or_hostile_error_is_one_line_of_300_characters(capsys):
    tell_error(f"/data/{'x' * 5000}/a\n\x1b[2J.wav: is empty")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: /data/x")
    assert line.endswith(".wav: is empty")
    assert "\x1b" not in line
    assert len(line) <= len("error: ") + 300
