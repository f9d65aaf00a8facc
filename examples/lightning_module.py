"""A convolutional recurrent layer in a Lightning module.

Sawtooth waves that rise, fall or do both, in sequences of 40 to 80 noisy frames, are told apart by a CLSTM layer: the
values of all three are distributed alike, only their order differs. A collate function pads each batch and passes the
lengths. Commands::

    pip install lightning
    python examples/lightning_module.py

It trains for a few epochs on drawn sequences and prints the accuracy on others.
"""

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from convrnn.nn import CLSTM, MeanSoftmax

Batch = tuple[Tensor, Tensor, Tensor]


class Classifier(L.LightningModule):
    """Log-probabilities of classes: features of windows, a dense layer, and the mean over time."""

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.features = CLSTM(in_features, 32, kernel_size=10, stride=5)
        self.output = nn.Linear(32, num_classes)
        self.readout = MeanSoftmax()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``[batch, frames, in_features]`` to ``[batch, num_classes]``."""
        features = self.features(x, lengths)
        log_probabilities: Tensor = self.readout(self.output(features), self.features.output_lengths(lengths))
        return log_probabilities

    def training_step(self, batch: Batch) -> Tensor:
        """The loss of a batch."""
        x, lengths, labels = batch
        return F.nll_loss(self(x, lengths), labels)

    def validation_step(self, batch: Batch) -> None:
        """Logs the accuracy."""
        x, lengths, labels = batch
        self.log("accuracy", (self(x, lengths).argmax(dim=1) == labels).float().mean(), batch_size=len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


class Waves(Dataset[tuple[Tensor, int]]):
    """Standardised waves ``[frames, 1]`` and their classes: 0 rises, 1 falls, 2 does both."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(3, (count,), generator=generator).tolist()
        self.waves = [self._draw(label, generator) for label in self.labels]

    @staticmethod
    def _draw(label: int, generator: torch.Generator) -> Tensor:
        frames = int(torch.randint(40, 81, (), generator=generator))
        start, frequency = torch.rand(2, generator=generator)
        phase = (start + torch.arange(frames) * (0.05 + 0.05 * frequency)) % 1
        wave: Tensor = (phase, 1 - phase, (2 * phase - 1).abs())[label]
        return (3.5 * (wave - 0.5) + 0.3 * torch.randn(frames, generator=generator)).unsqueeze(1)

    def __len__(self) -> int:
        return len(self.waves)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.waves[index], self.labels[index]


def collate(items: list[tuple[Tensor, int]]) -> Batch:
    """A padded batch, the lengths and the labels."""
    x, labels = zip(*items, strict=True)
    return pad_sequence(list(x), batch_first=True), torch.tensor([len(wave) for wave in x]), torch.tensor(labels)


def main() -> None:
    """Train and validate."""
    L.seed_everything(0, verbose=False)
    trainer = L.Trainer(max_epochs=5, logger=False, enable_checkpointing=False, enable_model_summary=False)
    train, validation = Waves(400, seed=1), Waves(400, seed=2)
    model = Classifier(in_features=1, num_classes=3)
    trainer.fit(
        model,
        DataLoader(train, batch_size=32, collate_fn=collate, shuffle=True),
        DataLoader(validation, batch_size=32, collate_fn=collate),
    )
    print(f"accuracy on other sequences: {100 * float(trainer.callback_metrics['accuracy']):.1f} %")


if __name__ == "__main__":
    main()
