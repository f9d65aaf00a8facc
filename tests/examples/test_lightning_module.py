"""The example with Lightning."""

import pytest
import torch

from examples import lightning_module


# Lightning advises to use more processes, and calls a function of PyTorch's that is deprecated.
@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*LeafSpec.*is deprecated")
def test_it_learns(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lightning_module.main()
    assert float(capsys.readouterr().out.splitlines()[-1].split()[-2]) > 90
    assert not list(tmp_path.iterdir())


def test_prediction_does_not_depend_on_the_batch():
    items = list(lightning_module.Waves(4, seed=0))
    model = lightning_module.Classifier(in_features=1, num_classes=3)
    x, lengths, labels = lightning_module.collate(items)
    assert labels.tolist() == [label for _, label in items]
    with torch.inference_mode():
        alone = torch.cat([model(wave.unsqueeze(0), torch.tensor([len(wave)])) for wave, _ in items])
        torch.testing.assert_close(model(x, lengths), alone)
