import json
from typing import Any

import pandas as pd
import pytest
import soundfile
from pydantic import ValidationError

from convrnn.corpora.corpus import Corpus
from convrnn.corpora.labelled import LabelledCorpus
from convrnn.corpora.splits import Split
from convrnn.errors import InputError
from convrnn.features.logmel import LogMelConfig
from convrnn.features.waveform import WaveformConfig
from convrnn.training.config import TrainingConfig
from convrnn.training.spec import PROTOCOL_VERSION, RunSpec, make_spec, split_rows

SPLIT = Split("by-hand", train=("s0", "s1", "s2", "s3"), validation=("s4",), test=("s5", "s6"))


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(data, dict):
        return [leaf for key, value in data.items() for leaf in leaves(value, (*path, key))]
    if isinstance(data, list):
        return [leaf for i, value in enumerate(data) for leaf in leaves(value, (*path, i))]
    return [path]


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return value + "x"
    return 1 if value is None else value * 2 + 1


def raw_hash(data: dict[str, Any]) -> str:
    """The hash of a spec whose values need not be valid."""
    spec = RunSpec.model_construct(**data)
    return spec.hash


def test_the_hash_never_changes(make):
    # If the hash changes, every user's finished runs are trained again. Raise PROTOCOL_VERSION instead if results
    # change, and otherwise keep the hash.
    assert make(fingerprint="f" * 64).hash == "06ecaa5a5179dba3"


@pytest.mark.filterwarnings("ignore:Pydantic serializer")
def test_the_hash_ignores_only_names(make):
    spec = make()
    assert make(corpus="csv:elsewhere/data.csv", model_name="other", setting="other", window_ms=50).hash == spec.hash
    data = spec.model_dump(mode="json")
    assert raw_hash(data) == spec.hash
    paths = [path for path in leaves(data) if path not in {("corpus",), ("model_name",), ("setting",), ("window_ms",)}]
    assert len(paths) > 40
    hashes = {spec.hash}
    for path in paths:
        copy = json.loads(json.dumps(data))
        inner = copy
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = changed(inner[path[-1]])
        hashes.add(raw_hash(copy))
    assert len(hashes) == len(paths) + 1


def test_a_spec_survives_json(make):
    spec = make(training=TrainingConfig(lr=1 / 3, max_epochs=7))
    again = RunSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.hash == spec.hash


def test_defaults_are_the_papers():
    config = TrainingConfig()
    assert (config.lr, config.betas, config.eps, config.patience, config.max_epochs, config.batch_size) == (
        0.002,
        (0.9, 0.999),
        1e-8,
        12,
        100,
        32,
    )
    assert config.gradient_clip_norm is None


@pytest.mark.parametrize(
    "field",
    [
        {"batch_size": 0},
        {"batch_size": 2**63},
        {"lr": 0.0},
        {"lr": 1e300},
        {"lr": float("inf")},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"eps": 1.5},
        {"gradient_clip_norm": float("inf")},
        {"patience": 0},
        {"max_epochs": 0},
        {"max_epochs": 10**9},
        {"momentum": 0.9},
    ],
)
def test_invalid_training_options_are_refused(field):
    with pytest.raises(ValidationError):
        TrainingConfig(**field)


def test_make_spec(tones: LabelledCorpus):
    spec = make_spec(tones, SPLIT, front_end="clstm", setting="emotion", seed=3)
    assert spec.protocol_version == PROTOCOL_VERSION
    assert spec.classes == ("high", "low", "middle")
    assert spec.features == LogMelConfig(sample_rate=8000)
    assert spec.model.in_features == 26
    assert spec.model.num_classes == 3
    assert spec.fingerprint == tones.fingerprint
    assert spec.split.test == ("s5", "s6")
    assert spec.seed == 3
    assert make_spec(tones, SPLIT, front_end="clstm", setting="emotion", seed=3).hash == spec.hash


@pytest.mark.parametrize("front_end", ["conv", "extended-clstm", "cblstm"])
@pytest.mark.parametrize("setting", ["emotion", "paralinguistic"])
def test_models_of_the_waveform_have_one_more_layer(tones: LabelledCorpus, front_end, setting):
    features = WaveformConfig(sample_rate=8000, frame="millisecond")
    spec = make_spec(tones, SPLIT, front_end=front_end, setting=setting, features=features, window_ms=50)
    usual = make_spec(tones, SPLIT, front_end=front_end, setting=setting)
    lowest, *others = spec.model.front_end
    assert (spec.window_ms, spec.model.in_features) == (50, 8)
    assert tuple(others) == usual.model.front_end
    assert lowest.features == others[0].features.model_copy(update={"kernel_size": 50, "stride": 10})
    assert lowest.pool is None
    assert spec.model.model_copy(update={"front_end": tuple(others), "in_features": 26}) == usual.model
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec


def test_windows_on_the_waveform_are_25_ms_by_default(tones: LabelledCorpus):
    features = WaveformConfig(sample_rate=8000)
    spec = make_spec(tones, SPLIT, front_end="clstm", setting="emotion", features=features)
    assert (spec.window_ms, spec.model.front_end[0].features.kernel_size) == (25, 200)
    given = make_spec(tones, SPLIT, front_end="clstm", setting="emotion", features=features, window_ms=25)
    assert given.hash == spec.hash
    longer = make_spec(tones, SPLIT, front_end="clstm", setting="emotion", features=features, window_ms=30)
    assert longer.hash != spec.hash


@pytest.mark.parametrize(
    ("front_end", "features", "window_ms", "sentence"),
    [
        (
            "baseline",
            WaveformConfig(sample_rate=8000),
            None,
            "'baseline' cannot take .* frames of 1 sample; these can: ",
        ),
        ("extended-clstm", WaveformConfig(sample_rate=8000), None, "'extended-clstm' cannot take the raw waveform"),
        ("clstm", LogMelConfig(sample_rate=8000), 25, "window_ms=25: only for the raw waveform, not for logmel"),
        ("clstm", None, 25, "window_ms=25: only for the raw waveform, not for logmel"),
        ("clstm", WaveformConfig(sample_rate=8000), 2000, "window_ms: Input should be less than or equal to 1000"),
    ],
)
def test_what_the_waveform_cannot_do_is_refused(tones: LabelledCorpus, front_end, features, window_ms, sentence):
    with pytest.raises(InputError, match=sentence):
        make_spec(tones, SPLIT, front_end=front_end, setting="emotion", features=features, window_ms=window_ms)


def test_recordings_without_a_label_do_not_affect_the_sample_rate(tones: LabelledCorpus, tmp_path):
    soundfile.write(tmp_path / "slow.wav", [0.0] * 400, 4000)
    table = tones.table[["id", "file", "speaker", "label"]].rename(columns={"label": "pitch"})
    table.loc[len(table)] = ["slow.wav", tmp_path / "slow.wav", "s0", None]
    corpus = Corpus.from_table(table, name="more").for_task("pitch")
    spec = make_spec(corpus, SPLIT, front_end="conv", setting="emotion")
    assert spec.features.sample_rate == 8000
    assert spec.hash == make_spec(tones, SPLIT, front_end="conv", setting="emotion").hash


@pytest.mark.parametrize(
    ("field", "told"),
    [({"seed": 2**70}, "seed: Input should be"), ({"seed": -1}, "seed"), ({"threads": 10**6}, "threads")],
)
def test_values_beyond_their_bounds_give_a_sentence(tones: LabelledCorpus, field, told):
    with pytest.raises(InputError, match=f"data.csv: no run is possible at {told}") as caught:
        make_spec(tones, SPLIT, front_end="conv", setting="emotion", **field)
    assert len(str(caught.value).splitlines()) == 1


def test_make_spec_reads_no_audio_again(tones: LabelledCorpus, monkeypatch):
    fingerprint = tones.fingerprint
    monkeypatch.setattr(LabelledCorpus, "compute_fingerprint", lambda _: pytest.fail("the audio is read again"))
    assert make_spec(tones, SPLIT, front_end="conv", setting="emotion").fingerprint == fingerprint


def test_rows_leave_out_unlabelled_examples(all_tones: Corpus):
    partial = all_tones.for_task("partial")
    rows = split_rows(partial, SPLIT)
    table = partial.table
    assert {part: set(table["speaker"].iloc[found]) for part, found in rows.items()} == {
        "train": {"s0", "s1", "s2", "s3"},
        "validation": {"s4"},
        "test": {"s5", "s6"},
    }
    assert sum(map(len, rows.values())) == len(table) == 25


@pytest.mark.parametrize(
    ("task", "front_end", "setting", "word"),
    [("tone", "clstm", "emotion", "tone"), ("pitch", "clsm", "emotion", "clsm"), ("pitch", "clstm", "music", "music")],
)
def test_unknown_names_are_refused(all_tones: Corpus, task, front_end, setting, word):
    with pytest.raises(InputError, match=word):
        make_spec(all_tones.for_task(task), SPLIT, front_end=front_end, setting=setting)


def corpus_of(labels: list[str]) -> LabelledCorpus:
    files = [f"{i}.wav" for i in range(len(labels))]
    table = pd.DataFrame({"file": files, "speaker": list("abc"), "task": labels})
    return Corpus.from_table(table).for_task("task")


def test_a_class_without_training_example_is_refused():
    split = Split("s", train=("a",), validation=("b",), test=("c",))
    with pytest.raises(InputError, match=r"class 'y' .* no training example"):
        split_rows(corpus_of(["x", "y", "x"]), split)


def test_a_single_class_is_refused():
    split = Split("s", train=("a",), validation=("b",), test=("c",))
    with pytest.raises(InputError, match="only one class, 'x'"):
        split_rows(corpus_of(["x", "x", "x"]), split)
