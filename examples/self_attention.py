"""Convolutional recurrent features before self-attention.

A CLSTM layer turns windows of frames into features at a fifth of the rate; PyTorch's ``nn.TransformerEncoder`` then
relates them over the whole sequence. The lengths that the layer returns become the encoder's ``src_key_padding_mask``.
Each sequence of 60 to 120 noisy frames has a rising and a falling ramp somewhere, and the task is to say which comes
first. Command::

    python examples/self_attention.py

It trains on drawn sequences and prints the accuracy on others, and how much more padding changes a prediction.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convrnn.nn import CLSTM

Batch = tuple[Tensor, Tensor, Tensor]


class Classifier(nn.Module):
    """Features of windows, self-attention over them, and the mean over time."""

    def __init__(self, in_features: int, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.features = CLSTM(in_features, width, kernel_size=10, stride=5)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.output = nn.Linear(width, num_classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Logits: ``[batch, frames, in_features]``, each 10 frames or longer, to ``[batch, num_classes]``."""
        features = self.features(x, lengths)
        lengths = self.features.output_lengths(lengths)
        padding = torch.arange(features.size(1), device=x.device) >= lengths.unsqueeze(1)
        hidden = self.encoder(features + positions(features), src_key_padding_mask=padding)
        mean = hidden.masked_fill(padding.unsqueeze(2), 0).sum(dim=1) / lengths.unsqueeze(1)
        logits: Tensor = self.output(mean)
        return logits


def positions(features: Tensor) -> Tensor:
    """Sines and cosines ``[windows, width]`` that tell self-attention where in a sequence a window is."""
    _, windows, width = features.shape
    rates = 10000 ** (-torch.arange(0, width, 2, device=features.device) / width)
    angle = torch.arange(windows, device=features.device).unsqueeze(1) * rates
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def draw(count: int, seed: int) -> Batch:
    """Padded sequences ``[count, 120, 2]``, their lengths, and 1 where the falling ramp comes first."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(count, 120, 2, generator=generator)
    lengths = torch.randint(60, 121, (count,), generator=generator)
    labels = torch.randint(2, (count,), generator=generator)
    ramp = torch.linspace(-1.5, 1.5, 15)
    for sequence, length, label in zip(x, lengths.tolist(), labels.tolist(), strict=True):
        middle = int(torch.randint(15, length - 14, (), generator=generator))
        first = int(torch.randint(middle - 14, (), generator=generator))
        second = int(torch.randint(middle, length - 14, (), generator=generator))
        for start, falls in ((first, label), (second, 1 - label)):
            sequence[start : start + 15] += (ramp.flip(0) if falls else ramp).unsqueeze(1)
        sequence[length:] = 0
    return x, lengths, labels


def main() -> None:
    """Train, test, and pad."""
    torch.manual_seed(0)
    model = Classifier(in_features=2, num_classes=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    x, lengths, labels = draw(800, seed=1)
    for _ in range(12):
        for batch in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[batch], lengths[batch]), labels[batch]).backward()
            optimizer.step()

    model.eval()
    x, lengths, labels = draw(400, seed=2)
    with torch.inference_mode():
        logits = model(x, lengths)
        padded = model(F.pad(x, (0, 0, 0, 100), value=9.0), lengths)
    print(f"accuracy on other sequences: {100 * (logits.argmax(dim=1) == labels).float().mean():.1f} %")
    print(f"largest change by 100 more frames of padding: {(padded - logits).abs().max():.0e}")


if __name__ == "__main__":
    main()
