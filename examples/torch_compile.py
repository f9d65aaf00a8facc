"""A network with a convolutional recurrent layer under ``torch.compile(fullgraph=True)``.

A padded batch and its lengths go through one compiled graph, which also serves other batch sizes and numbers of frames,
forwards and backwards. Needs a C compiler. Command::

    python examples/torch_compile.py

It prints the largest difference between the compiled network and the original one, in the output and in any gradient,
for batches of three shapes, and how often PyTorch compiled.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from convrnn.nn import CLSTM, MeanSoftmax


class Classifier(nn.Module):
    """Log-probabilities of classes: features of windows, a dense layer, and the mean over time."""

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.features = CLSTM(in_features, 32, kernel_size=5, stride=2)
        self.output = nn.Linear(32, num_classes)
        self.readout = MeanSoftmax()

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``[batch, frames, in_features]`` to ``[batch, num_classes]``."""
        features = self.features(x, lengths)
        log_probabilities: Tensor = self.readout(self.output(features), self.features.output_lengths(lengths))
        return log_probabilities


def main(backend: str = "inductor") -> None:
    """Compile the network with one of PyTorch's compilers and compare it with the original."""
    torch.manual_seed(0)
    model = Classifier(in_features=26, num_classes=4)
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    counters.clear()
    for batch, frames in ((8, 100), (3, 57), (16, 180)):
        x = torch.randn(batch, frames, 26)
        lengths = torch.randint(5, frames + 1, (batch,))
        pairs = zip(run(compiled, model, x, lengths), run(model, model, x, lengths), strict=True)
        output, *gradients = (float((found - expected).abs().max()) for found, expected in pairs)
        print(f"{batch:2} x {frames:3} frames: output {output:.0e}, gradient {max(gradients):.0e}")
    print(f"compiled graphs: {counters['stats']['unique_graphs']}")


def run(forward: Callable[[Tensor, Tensor], Tensor], model: nn.Module, x: Tensor, lengths: Tensor) -> list[Tensor]:
    """The output and the gradient of each parameter."""
    log_probabilities = forward(x, lengths)
    return [log_probabilities.detach(), *torch.autograd.grad(-log_probabilities[:, 0].mean(), list(model.parameters()))]


if __name__ == "__main__":
    main()
