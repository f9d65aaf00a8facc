"""Devices and precisions as users name them; GPUs are only pretended here."""

import pytest
import torch

from convrnn.errors import InputError
from convrnn.training.environment import environment
from convrnn.training.placement import CPU, Placement


@pytest.fixture
def gpus(monkeypatch):
    """Pretends that there are two CUDA GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("auto", Placement("cuda")),
        ("cuda", Placement("cuda")),
        ("cuda:1", Placement("cuda", 1)),
        ("cpu", CPU),
    ],
)
def test_devices_where_there_are_gpus(device, expected):
    assert Placement.of(device) == expected
    assert str(expected) == ("cuda" if device == "auto" else device)


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_apples_gpu_if_there_is_one_and_otherwise_the_cpu(monkeypatch):
    assert Placement.of("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert Placement.of("auto") == Placement("mps") == Placement.of("mps")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda", "device='cuda': PyTorch finds no CUDA GPU here; choose 'cpu' or 'auto'"),
        ("cuda:0", "device='cuda:0': PyTorch finds no CUDA GPU here; choose 'cpu' or 'auto'"),
        ("mps", "device='mps': PyTorch finds no Apple GPU here; choose 'cpu' or 'auto'"),
        ("gpu", "'device': unknown value 'gpu'; allowed: auto, cpu, cuda, cuda:N for GPU number N, mps"),
        ("cuda:-1", "'device': unknown value 'cuda:-1'"),
        ("cuda:1\n", "'device': unknown value"),
    ],
)
def test_devices_that_are_not_there_are_refused(device, sentence):
    with pytest.raises(InputError) as error:
        Placement.of(device)
    assert sentence in str(error.value)


@pytest.mark.usefixtures("gpus")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"device='cuda:2': there are 2 GPUs, counted from 0"):
        Placement.of("cuda:2")


@pytest.mark.usefixtures("gpus")
def test_several_devices_have_to_be_there():
    assert Placement.of("cuda", devices=2) == Placement("cuda", devices=2)
    assert Placement.of("cpu", devices=2).devices == 2
    for device, devices, sentence in (
        ("cuda", 3, "devices=3: there are 2 GPUs"),
        ("cuda:1", 2, "devices=2: device='cuda:1' is a single one; choose 'cuda' or 'cpu'"),
        ("cpu", 0, "devices=0: must be a number from 1 to 64"),
    ):
        with pytest.raises(InputError) as error:
            Placement.of(device, devices=devices)
        assert sentence in str(error.value)


@pytest.mark.usefixtures("gpus")
def test_precisions_of_a_gpu():
    assert [Placement.of("cuda", name).precision for name in ("32", "tf32", "bf16")] == ["32", "tf32", "bf16-mixed"]
    with pytest.raises(InputError, match="'precision': unknown value '16'; allowed: 32, tf32, bf16"):
        Placement.of("cuda", "16")


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_devices_fall_back_to_float32_with_a_remark(precision):
    found = Placement.of("cpu", precision)
    assert found.precision == "32"
    assert found.remarks == (f"precision {precision} needs a CUDA GPU; the CPU computes in float32",)


@pytest.mark.parametrize(("precision", "products"), [("32", "highest"), ("tf32", "medium"), ("bf16-mixed", "highest")])
def test_products_on_a_gpu_have_the_precision_and_get_their_old_one_back(precision, products):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with environment(device="cuda", threads=1, precision=precision):
        assert torch.get_float32_matmul_precision() == products
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
