"""ONNX files with 8-bit weights: ONNX Runtime's dynamic quantisation, and what it changes."""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convrnn.errors import Argument, InputError
from convrnn.models.onnx_network import OnnxNetwork, SignalNetwork

TOLERANCE = 0.1
"""Largest accepted difference of a probability from that of the file with float weights."""

RECORDINGS = 40
"""Number of generated recordings on which the two files are compared."""

FRAMES = (100, 500)
"""Their shortest and longest length in frames."""

PAIRS = 9
"""How often each file is timed, in turn with the other one."""


@dataclass(frozen=True)
class Int8:
    """What 8-bit weights change, on recordings of noise.

    Attributes:
        float_size: Size in bytes of the file with float weights.
        time: Time that the 8-bit file takes divided by that of the float file on one thread: the median over pairs of
            measurements.
        difference: Largest difference of a probability between the two files.
        agreement: Share of recordings for which both predict the same class.
        recordings: Number of recordings.
    """

    float_size: int
    time: float
    difference: float
    agreement: float
    recordings: int


def quantise(content: bytes) -> bytes:
    """A file whose matrix products and LSTMs have 8-bit weights; their inputs are rounded while it runs."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        path, prepared = Path(folder) / "model.onnx", Path(folder) / "prepared.onnx"
        path.write_bytes(content)
        # Only constants are quantised, and the exporter leaves the reordering of an LSTM's weights to the runtime.
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        # Convolutions with 8 bits take longer than with 32.
        quantize_dynamic(prepared, path, op_types_to_quantize=["MatMul", "Gemm", "LSTM"])
        model = onnx.load(path)
    # Without the notes of the quantiser, which are not JSON.
    del model.metadata_props[:]
    model.metadata_props.extend(onnx.load_from_string(content).metadata_props)
    rounded: bytes = model.SerializeToString()
    return rounded


def compare_with_float(rounded: bytes, content: bytes, network: OnnxNetwork | SignalNetwork, path: Path) -> Int8:
    """Compares a file with 8-bit weights with the one it was made from.

    Args:
        rounded: The file with 8-bit weights.
        content: The file with float weights.
        network: What both compute.
        path: Named in the error.

    Raises:
        InputError: A probability differs by more than :data:`TOLERANCE`, or is NaN.
    """
    rng = np.random.default_rng(0)
    inputs = [network.inputs([frames], rng) for frames in rng.integers(*FRAMES, RECORDINGS).tolist()]
    calls = [{name: value.numpy() for name, value in own.items()} for own in inputs]
    floating, eight = _session(content), _session(rounded)

    def probabilities(session: Any) -> "np.ndarray[Any, np.dtype[np.float32]]":  # noqa: ANN401 - has no types
        found = [network.probabilities(torch.from_numpy(session.run(None, call)[0])) for call in calls]
        return torch.cat(found).numpy()

    expected, found = probabilities(floating), probabilities(eight)
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise InputError(
            f"{path}: not written, since 8-bit weights change a probability by {difference:.2g}, more than "
            f"{TOLERANCE:g}; leave out ",
            Argument("int8"),
        )
    ratios = [_seconds(eight, calls) / _seconds(floating, calls) for _ in range(PAIRS)]
    agreement = float((found.argmax(1) == expected.argmax(1)).mean())
    return Int8(len(content), statistics.median(ratios), difference, agreement, len(calls))


def _session(content: bytes) -> Any:  # noqa: ANN401 - has no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _seconds(session: Any, calls: list[dict[str, Any]]) -> float:  # noqa: ANN401 - has no types
    began = time.perf_counter()
    for call in calls:
        session.run(None, call)
    return time.perf_counter() - began
