import pytest

from convrnn.corpora.registry import open_corpus
from convrnn.errors import InputError


@pytest.fixture
def emodb(tmp_path):
    folder = tmp_path / "emodb" / "wav"
    folder.mkdir(parents=True)
    for name in (
        "03a01Fa.wav",
        "03a02Nc.wav",
        "08b10Wb.wav",
        "10a07Ld.wav",
        "11a05Ea.wav",
        "12a01Aa.wav",
        "13b03Tc.wav",
    ):
        (folder / name).touch()
    return folder.parent


def test_emodb_reads_labels_from_file_names(emodb):
    corpus = open_corpus(f"emodb:{emodb}")
    assert corpus.name == f"emodb:{emodb}"
    table = corpus.table
    assert table["id"].tolist()[:2] == ["03a01Fa.wav", "03a02Nc.wav"]
    assert table["speaker"].tolist() == ["03", "03", "08", "10", "11", "12", "13"]
    emotion = corpus.for_task("emotion")
    assert emotion.labels == [
        "happiness",
        "neutral",
        "anger",
        "boredom",
        "disgust",
        "fear",
        "sadness",
    ]
    assert corpus.tasks == {
        "emotion": ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness"),
    }
    inside = open_corpus(f"emodb:{emodb / 'wav'}")
    assert inside.table.equals(table)


def test_emodb_refuses_wrong_paths(emodb, tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder; give EmoDB's folder"):
        open_corpus(f"emodb:{tmp_path / 'nowhere'}")
    with pytest.raises(InputError, match="holds no wav files"):
        open_corpus(f"emodb:{tmp_path}")
    (emodb / "wav" / "03a01Xa.wav").touch()
    with pytest.raises(InputError, match=r"03a01Xa\.wav is not a file name of EmoDB"):
        open_corpus(f"emodb:{emodb}")


def test_csv_opens_a_table(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("file,speaker,c\na.wav,1,x\n")
    corpus = open_corpus(f"csv:{path}")
    assert corpus.name == f"csv:{path}"
    assert corpus.tasks == {"c": ("x",)}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "timit:/x",
            "unknown corpus 'timit:/x'; allowed: csv:PATH, audformat:PATH, emodb:PATH, aibo:PATH, agender:PATH, demo",
        ),
        ("data.csv", r"did you mean csv:data\.csv\?"),
        ("csv:", "has no path; write csv:PATH"),
        ("emodb", "has no path; write emodb:PATH"),
        ("aibo", "has no path; write aibo:PATH"),
        ("agender:", "has no path; write agender:PATH"),
        ("demo:x", "unknown corpus 'demo:x'"),
    ],
)
def test_bad_corpus_names_are_refused(spec, message):
    with pytest.raises(InputError, match=message):
        open_corpus(spec)
