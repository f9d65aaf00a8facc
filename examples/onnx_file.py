"""A network with a convolutional recurrent layer as an ONNX file.

``nn.Sequential`` with :class:`convrnn.nn.CLSTM` between PyTorch's own layers is exported for any batch size and number
of frames; ONNX Runtime then runs the file. The reference backend has to be chosen for the export, since ONNX knows its
operators and not those of the kernels. (For a model of ``convrnn train`` there is ``convrnn export``.) Commands::

    pip install 'convrnn[export]'
    python examples/onnx_file.py model.onnx

It prints, for batches of three shapes, the largest difference between ONNX Runtime and PyTorch.
"""

import argparse
from pathlib import Path

import onnxruntime
import torch
from torch import nn
from torch.export import Dim

from convrnn import ops
from convrnn.nn import CLSTM


def main() -> None:
    """Write the file, and compare what it computes."""
    parser = argparse.ArgumentParser(description="Export a network with a CLSTM layer as an ONNX file.")
    parser.add_argument("file", type=Path, help="the file to write, such as model.onnx")
    file = parser.parse_args().file
    if file.is_dir() or not file.parent.is_dir():
        parser.error(f"{file}: must be a file in an existing folder")

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.LayerNorm(26),
        CLSTM(26, 64, kernel_size=5, stride=2),
        nn.Linear(64, 4),
        nn.LogSoftmax(dim=-1),
    ).eval()
    shapes = ({0: Dim("batch"), 1: Dim("frames", min=5)},)
    with ops.use_backend("reference"):
        torch.onnx.export(
            model,
            (torch.randn(2, 100, 26),),
            file,
            input_names=["x"],
            output_names=["log_probabilities"],
            dynamic_shapes=shapes,
            dynamo=True,
            external_data=False,
            verbose=False,
        )

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for batch, frames in ((1, 5), (8, 100), (3, 181)):
        x = torch.randn(batch, frames, 26)
        [found] = session.run(None, {"x": x.numpy()})
        with torch.inference_mode():
            difference = float((torch.from_numpy(found) - model(x)).abs().max())
        print(f"{batch} x {frames:3} frames: {found.shape[1]:2} windows, largest difference {difference:.0e}")


if __name__ == "__main__":
    main()
