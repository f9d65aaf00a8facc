"""A saved model, whole, damaged or from someone else."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bundles import STATISTICS, make_bundle, utterances
from convrnn.errors import InputError
from convrnn.features.logmel import LogMelConfig
from convrnn.models import Bundle


@pytest.fixture
def saved(tmp_path):
    make_bundle().save(tmp_path / "model")
    return tmp_path / "model"


def edit(bundle, **changes):
    path = bundle / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_loaded_model_equals_the_saved_one(tmp_path):
    bundle = make_bundle()
    bundle.save(tmp_path / "runs" / "model")
    loaded = Bundle.load(tmp_path / "runs" / "model")
    assert loaded.config == bundle.config
    assert not loaded.model.training
    for name, value in bundle.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value)
    features = utterances(80, 3, 41)
    assert np.array_equal(loaded.log_probabilities(features), bundle.log_probabilities(features))


def test_a_saved_model_is_two_files_without_code(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors"]
    assert [path.name for path in saved.parent.iterdir()] == ["model"]
    for path in saved.iterdir():
        # The first bytes of pickles and of the archives that torch.save writes.
        assert not re.match(rb"\x80[\x00-\x05]|PK", path.read_bytes())


def test_saving_again_replaces_the_model(saved):
    bundle = make_bundle(task="age")
    bundle.save(saved)
    assert Bundle.load(saved).config.task == "age"
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_failed_save_keeps_the_old_model(saved, monkeypatch):
    def full_disk(path, *_):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("convrnn.models.bundle.write_new", full_disk)
    with pytest.raises(OSError, match="No space left"):
        make_bundle(task="age").save(saved)
    assert Bundle.load(saved).config.task == "gender"
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_a_failed_renaming_keeps_the_old_model(saved, monkeypatch):
    rename, renamed = Path.rename, []

    def fail(path, target):
        renamed.append(target)
        if renamed.count(saved) == 1 and target == saved:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="Input/output"):
        make_bundle(task="age").save(saved)
    assert Bundle.load(saved).config.task == "gender"
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


def test_the_permissions_of_a_saved_model_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        make_bundle().save(tmp_path / "model")
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {0o640}


def test_a_saved_model_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    happened = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor):
        happened.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def renamed(path, target):
        happened.append(("rename", str(target)))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    make_bundle().save(tmp_path / "new" / "model")
    temporary = happened[1][1].rpartition("/")[0]
    assert happened == [
        ("sync", str(tmp_path)),
        ("sync", f"{temporary}/config.json"),
        ("sync", f"{temporary}/model.safetensors"),
        ("sync", temporary),
        ("rename", str(tmp_path / "new" / "model")),
        ("sync", str(tmp_path / "new")),
    ]


def test_a_link_in_place_of_a_saved_model_is_replaced_and_not_followed(tmp_path):
    make_bundle().save(tmp_path / "other")
    (tmp_path / "model").symlink_to(tmp_path / "other")
    make_bundle(task="age").save(tmp_path / "model")
    assert not (tmp_path / "model").is_symlink()
    assert Bundle.load(tmp_path / "model").config.task == "age"
    assert Bundle.load(tmp_path / "other").config.task == "gender"


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_one_flipped_bit_of_the_weights_is_noticed(saved, place):
    path = saved / "model.safetensors"
    content = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(content[:8], "little")
    # The lowest bit of a value, which nothing else would reveal.
    content[start + 4 * int(place * (len(content) - start) / 4)] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors: the weights are damaged"):
        Bundle.load(saved)


def test_weights_without_a_digest_from_earlier_versions_are_read(saved):
    weights = load_file(saved / "model.safetensors")
    save_file(weights, saved / "model.safetensors")
    loaded = Bundle.load(saved).model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_predictions_do_not_depend_on_the_batch_or_its_order():
    bundle = make_bundle()
    features = utterances(80, 3, 41, 41, 7)
    y = bundle.log_probabilities(features)
    assert y.shape == (5, 3)
    np.testing.assert_allclose(np.exp(y).sum(1), 1, rtol=1e-5)
    for row, one in enumerate(features):
        # float32, sums in another order.
        np.testing.assert_allclose(bundle.log_probabilities([one])[0], y[row], rtol=0, atol=1e-5)
    np.testing.assert_allclose(bundle.log_probabilities(features[::-1], batch_size=2), y[::-1], rtol=0, atol=1e-5)


def test_corpus_statistics_are_saved_with_the_model(tmp_path):
    make_bundle(normalise="corpus", statistics=STATISTICS).save(tmp_path / "model")
    normaliser = Bundle.load(tmp_path / "model").normaliser()
    x = np.full((2, 26), 4.0, dtype=np.float32)
    (y,) = normaliser.transform([x], ["a"])
    np.testing.assert_allclose(y[0], (4.0 - np.arange(26)) / 2.0, rtol=1e-6)


def test_a_normaliser_of_another_policy_needs_its_statistics():
    bundle = make_bundle()
    x = utterances(50)
    (y,) = bundle.normaliser("utterance").transform(x, None)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    with pytest.raises(InputError, match=r"normalisation 'corpus' needs training statistics, .* 'speaker'"):
        bundle.normaliser("corpus")


def damage_weights(bundle):
    path = bundle / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def replace_weights(bundle):
    (bundle / "model.safetensors").write_bytes(b"not a model")


def other_weights(bundle):
    edit(bundle, model=json.loads((bundle / "config.json").read_text())["model"] | {"dense_features": 7})


def change_weights(bundle, change):
    path = bundle / "model.safetensors"
    save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path)


def huge_layer(bundle):
    edit(bundle, model=json.loads((bundle / "config.json").read_text())["model"] | {"dense_features": 10**12})


def impossible_layer(bundle):
    model = json.loads((bundle / "config.json").read_text())["model"]
    model["front_end"][0]["features"] |= {"rnn_type": "gru", "sequence": "cell"}
    edit(bundle, model=model)


def truncate_config(bundle):
    path = bundle / "config.json"
    path.write_text(path.read_text()[:100])


DAMAGES = [
    (damage_weights, "weights are damaged .*incomplete"),
    (replace_weights, r"weights are damaged \(their header announces \d+ bytes for itself"),
    (
        other_weights,
        r"dense.weight has shape \[6, 10\], but the model takes \[7, 10\]",
    ),
    (lambda bundle: (bundle / "model.safetensors").unlink(), "model.safetensors is missing"),
    (truncate_config, "is not valid JSON"),
    (lambda bundle: (bundle / "config.json").write_bytes(b"\xff\xfe\x00"), "is not UTF-8"),
    (lambda bundle: (bundle / "config.json").write_text("[]"), "format version None"),
    (lambda bundle: (bundle / "config.json").unlink(), "not a saved model; it must be a folder with config.json"),
    (lambda bundle: edit(bundle, format_version=2), "format version 2; this version of convrnn reads 1"),
    (lambda bundle: edit(bundle, extra=1), "not valid at extra"),
    (lambda bundle: edit(bundle, features={"kind": "mfcc"}), "not valid at features: .*'mfcc'.*'logmel', 'egemaps'"),
    (
        lambda bundle: edit(bundle, features={"kind": "logmel"}),
        r"not valid at features\.logmel\.sample_rate: Field requ",
    ),
    (lambda bundle: edit(bundle, classes=["a", "b"]), "there are 2 class names, but the model has 3 classes"),
    (lambda bundle: edit(bundle, normalise="none"), "not valid at normalise"),
    (lambda bundle: edit(bundle, normalise="corpus"), "statistics are required for the normalisation policy 'corpus'"),
    (
        lambda bundle: edit(bundle, normalise="corpus", statistics={"mean": [0.0], "std": [1.0]}),
        "statistics have 1 mean.* there are 26 features",
    ),
    (
        lambda bundle: edit(bundle, normalise="corpus", statistics={"mean": [0.0] * 26, "std": [float("nan")] * 26}),
        "NaN is not a number",
    ),
    (
        lambda bundle: edit(bundle, normalise="corpus", statistics={"mean": [0.0] * 26, "std": [-1.0] * 26}),
        "not valid at statistics.std",
    ),
    (lambda bundle: edit(bundle, classes=["a", "a", "b"]), "a class is repeated: a, a, b"),
    (lambda bundle: change_weights(bundle, lambda w: w * torch.nan), "has values that are not finite"),
    (lambda bundle: change_weights(bundle, lambda w: w.double()), "has type F64, not F32"),
    (huge_layer, "not valid at model.dense_features: Input should be less than or equal to 1048576"),
    (impossible_layer, "not valid at model: sequence is 'cell', but rnn_type 'gru'"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES, ids=[row[1][:45] for row in DAMAGES])
def test_damage_gives_one_sentence(saved, damage, sentence):
    damage(saved)
    with pytest.raises(InputError, match=sentence) as caught:
        Bundle.load(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_without_a_model_are_refused(saved, tmp_path):
    for path in (tmp_path / "nothing", saved / "config.json"):
        with pytest.raises(InputError, match=r"not a saved model; it must be a folder with config\.json"):
            Bundle.load(path)


def test_the_number_of_features_must_match_the_model():
    with pytest.raises(ValueError, match="features have 40 values, but the model takes 26"):
        make_bundle(features=LogMelConfig(sample_rate=16000, num_bands=40))


def test_extracted_features_are_the_front_ends_in_any_batches():
    bundle = make_bundle()
    features = utterances(60, 9, 33, 7)
    found = bundle.extract_features(features, batch_size=3)
    assert [x.shape for x in found] == [(14, 4), (1, 4), (7, 4), (1, 4)]
    for x, own in zip(features, found, strict=True):
        alone, _ = bundle.model.extract_features(torch.from_numpy(x)[None])
        np.testing.assert_allclose(own, alone[0].detach().numpy(), rtol=1e-5, atol=1e-6)
