"""A convolutional recurrent layer trained by two processes with DistributedDataParallel.

Each process takes its share of a padded batch; DistributedDataParallel averages their gradients. Command::

    torchrun --standalone --nproc-per-node 2 examples/data_parallel.py

It prints the largest difference between the averaged gradients and those of one process with the whole batch, then the
loss of the whole batch over a few steps of training.
"""

import argparse

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

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


def main() -> None:
    """One of the processes that ``torchrun`` starts."""
    parser = argparse.ArgumentParser(description="Train a network with a CLSTM layer in several processes.")
    parser.parse_args()
    if not dist.is_torchelastic_launched():
        parser.error("start it with torchrun --standalone --nproc-per-node 2 examples/data_parallel.py")
    dist.init_process_group("gloo")
    rank, processes = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(0)  # the same network and the same batch in every process
    model = Classifier(in_features=26, num_classes=4)
    size = 8 * processes
    batch = torch.randn(size, 100, 26), torch.randint(5, 101, (size,)), torch.randint(4, (size,))
    share = [tensor[rank::processes] for tensor in batch]

    parameters = list(model.parameters())
    expected = torch.autograd.grad(loss_of(model, *batch), parameters)
    parallel = DistributedDataParallel(model)
    loss_of(parallel, *share).backward()
    pairs = zip(parameters, expected, strict=True)
    difference = max(float((p.grad - gradient).abs().max()) for p, gradient in pairs if p.grad is not None)
    if rank == 0:
        print(f"{processes} processes; largest difference of a gradient: {difference:.0e}")

    optimizer = torch.optim.Adam(parallel.parameters(), lr=0.002)
    for step in range(20):
        optimizer.zero_grad()
        loss = loss_of(parallel, *share)
        loss.backward()
        optimizer.step()
        dist.all_reduce(loss)
        if rank == 0 and step % 5 == 4:
            print(f"step {step + 1}: loss {loss.item() / processes:.3f}")
    # A process that ends before the others, or before the threads of DistributedDataParallel, may be aborted.
    del parallel, optimizer
    dist.barrier()
    dist.destroy_process_group()


def loss_of(model: nn.Module, x: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """Mean over the sequences, so that the mean over equal shares is the mean over the batch."""
    return F.nll_loss(model(x, lengths), labels)


if __name__ == "__main__":
    main()
