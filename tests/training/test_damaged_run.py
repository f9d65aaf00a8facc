"""Files of a run that were truncated, changed or made by someone else give one sentence and execute nothing."""

import io
import json
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch

from convrnn.errors import InputError
from convrnn.training import checkpoint
from convrnn.training.epochs import read_metrics
from convrnn.training.fit import run
from convrnn.training.result import RunResult
from convrnn.training.run_directory import DamagedRunError, RunDirectory


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_checkpoint_is_refused_and_never_executed(tones, make, folders):
    class Evil:
        def __reduce__(self):
            return Path.touch, (folders["runs_dir"] / "executed",)

    spec = make()
    partial = RunDirectory(folders["runs_dir"], spec.hash).partial
    partial.mkdir(parents=True)
    for content in (b"not a checkpoint", pickle.dumps(Evil())):
        (partial / "last.ckpt").write_bytes(content)
        with pytest.raises(InputError, match=r"last\.ckpt: is damaged"):
            run(spec, tones, **folders)
    torch.save({"callbacks": Evil()}, partial / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: is damaged"):
        run(spec, tones, **folders)
    assert not (folders["runs_dir"] / "executed").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("model"),
        lambda content: content.pop("optimizer"),
        lambda content: content.update(optimizer=[]),
        lambda content: content["model"].popitem(),
        lambda content: content["best_model"].clear(),
        lambda content: content["best_model"].update(more=torch.zeros(1)),
        lambda content: content.update(best_model=3),
        lambda content: content["reports"].clear(),
        lambda content: content["reports"].append({"epoch": 3}),
        lambda content: content["reports"][0].update(train_loss="low"),
        lambda content: content["reports"][0].update(epoch=2),
        lambda content: content["reports"][0].update(is_best=False),
        lambda content: content.update({"pytorch-lightning_version": "2.6.6"}),
    ],
)
def test_a_checkpoint_that_does_not_fit_the_run_is_refused(finished, tones, make, learns, folders, damage):
    spec = make(training=learns)
    partial = RunDirectory(folders["runs_dir"], spec.hash).partial
    shutil.copytree(finished[0].directory, partial)
    content = torch.load(partial / "last.ckpt", weights_only=True)
    damage(content)
    torch.save(content, partial / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt: is damaged, so the run cannot continue"):
        run(spec, tones, **folders)


def test_no_run_continues_from_a_checkpoint_with_a_flipped_bit(finished, tmp_path):
    """The flipped bit is either noticed or in unused bytes such as padding and dates."""
    content = (finished[0].directory / "last.ckpt").read_bytes()
    expected = str(torch.load(io.BytesIO(content), weights_only=True))
    tensors = _tensors(torch.load(io.BytesIO(content), weights_only=True))
    path, noticed = tmp_path / "last.ckpt", 0
    generator = random.Random(0)
    for _ in range(300):
        damaged = bytearray(content)
        damaged[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(damaged)
        try:
            found = checkpoint.read(path)
        except Exception:  # noqa: BLE001 - any error is told as a damaged checkpoint
            noticed += 1
        else:
            assert str(found) == expected
            assert all(torch.equal(one, other) for one, other in zip(_tensors(found), tensors, strict=True))
    assert noticed > 150


def _tensors(content):
    if isinstance(content, torch.Tensor):
        return [content]
    values = content.values() if isinstance(content, dict) else content if isinstance(content, (list, tuple)) else []
    return [tensor for value in values for tensor in _tensors(value)]


def test_a_missing_or_damaged_result_is_named(tmp_path):
    with pytest.raises(DamagedRunError, match=r"result\.json is missing"):
        RunResult.load(tmp_path)
    (tmp_path / "result.json").write_text('{"hash": 1}')
    with pytest.raises(DamagedRunError, match=r"result\.json has no digests of the run's files"):
        RunResult.load(tmp_path)


def test_a_run_under_the_name_of_another_is_refused(finished, tmp_path):
    result, _, _ = finished
    shutil.copytree(result.directory, tmp_path / "0123456789abcdef")
    with pytest.raises(DamagedRunError, match=f"result.json is of run '{result.hash}'"):
        RunResult.load(tmp_path / "0123456789abcdef")


def test_changed_learning_curves_are_refused(finished, tmp_path):
    result, _, _ = finished
    copy = tmp_path / result.hash
    shutil.copytree(result.directory, copy)
    path = copy / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DamagedRunError, match=r"metrics\.jsonl was changed"):
        read_metrics(copy)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("[" * 100_000, "nest too deeply"),
        ("[]", "not valid at 1"),
        ('{"epoch": 1}', "not valid at 1.train_loss: Field required"),
        ('{"epoch": ' + "1" * 5000 + "}", "more than 64 bits"),
        ('{"epoch": NaN}', "NaN is not a number"),
        (None, "not valid at 1.epoch: Input should be greater than or equal to 1"),
    ],
)
def test_damaged_learning_curves_give_a_sentence(finished, tmp_path, line, told):
    result, _, _ = finished
    first = (result.directory / "metrics.jsonl").read_text().splitlines()[0]
    line = json.dumps(json.loads(first) | {"epoch": -3}) if line is None else line
    (tmp_path / "metrics.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(InputError, match=f"is damaged .*{told}.*; delete the folder") as caught:
        read_metrics(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
