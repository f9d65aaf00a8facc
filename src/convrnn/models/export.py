"""Exports a trained model as an ONNX file, for use without PyTorch."""

import contextlib
import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim

from convrnn import ops
from convrnn.errors import InputError
from convrnn.features.normalise import CONSTANT, NormalisePolicy
from convrnn.files import write_atomically
from convrnn.models.bundle import Bundle
from convrnn.ops import geometry

OPSET = 18
"""Version of ONNX's operators."""

TOLERANCE = 1e-4
"""Largest accepted difference of a probability from PyTorch's."""

_REQUIRED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Export:
    """The result of :func:`export_onnx`.

    Attributes:
        path: The file.
        size: Its size in bytes.
        normalise: Policy by which the file standardises features.
        difference: Largest difference of a probability between ONNX Runtime and PyTorch, over random test batches.
    """

    path: Path
    size: int
    normalise: NormalisePolicy
    difference: float


def export_onnx(bundle: Bundle, path: Path | str, *, normalise: NormalisePolicy | None = None) -> Export:
    """Writes a trained model as an ONNX file, after checking that ONNX Runtime gives the same results as PyTorch.

    The file takes any number of recordings of any length. Whole-sequence LSTMs become ONNX's own operator, peepholes
    included; the steps of a window are unrolled, or are a loop if they are many. A model of the raw waveform takes
    samples, so that nothing else has to be computed.

    ============================  ============================================================================
    input ``features``            float32 ``[batch, frames, features]``, as extracted; the file standardises them
    or input ``samples``          float32 ``[batch, samples]`` of the raw waveform, mono, with full scale 1
    input ``lengths``             int64 ``[batch]``, the valid frames or samples of each recording, clamped to one
                                  frame and all
    input ``speakers``            int64 ``[batch]``, who speaks in each recording, as any number: features are
                                  standardised over the frames of all recordings with the same number; exists (and is
                                  required) only with the policy "speaker"
    output ``log_probabilities``  float32 ``[batch, classes]``; NaN for a recording with a value that is not finite,
                                  which is ignored when the speaker's other recordings are standardised
    ============================  ============================================================================

    The file's metadata (each value as JSON) holds the model's ``config.json`` without model and statistics, with the
    policy as ``normalise`` and the sample rate in ``features``, and two more keys. ``standardised_within`` is true;
    files of earlier versions had false for the policy "speaker". ``fbank`` has the options with which
    kaldi-native-fbank extracts log mel features, from samples at 16-bit scale.

    Args:
        bundle: The trained model.
        path: The file; an existing one is replaced.
        normalise: A normalisation policy instead of the model's own.

    Raises:
        InputError: A package of the extra "export" is missing, the policy is "corpus" and the model has no training
            statistics, the model's probabilities are NaN, or the file cannot be written.
        RuntimeError: ONNX Runtime's results differ from PyTorch's; nothing is written.

    Example:
        >>> from convrnn.models import Bundle, export_onnx
        >>> def ship(folder: str) -> None:
        ...     export_onnx(Bundle.load(folder), "model.onnx")
    """
    path = Path(path)
    _check_target(path)
    _require_packages()
    model = _Exported(bundle, normalise or bundle.config.normalise).eval()
    content = _with_metadata(_to_onnx(model), bundle, model.policy)
    difference = _largest_difference(content, model)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"ONNX Runtime's probabilities differ from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}; "
            f"{path} was not written"
        )
    write_atomically(path, content)
    return Export(path, len(content), model.policy, difference)


class _Exported(nn.Module):
    """What the file computes: features are standardised according to the policy, then classified.

    Statistics are computed in float64, as :class:`convrnn.features.normalise.Statistics` does.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, bundle: Bundle, policy: NormalisePolicy) -> None:
        super().__init__()
        self.features = bundle.config.features.to_torch()
        statistics = bundle.normaliser(policy).statistics
        self.policy = policy
        # A copy: the model itself may be in use, for example training on a GPU.
        self.model = copy.deepcopy(bundle.model).cpu()
        for name in ("mean", "std"):
            value = np.zeros(0) if statistics is None else getattr(statistics, name)
            self.register_buffer(name, torch.from_numpy(value))

    @property
    def input(self) -> str:
        """Name of the first input."""
        return "features" if self.features is None else "samples"

    def example(self, batch: int, frames: int) -> Tensor:
        """Zeros of the first input's shape, for that many frames."""
        width = self.model.config.in_features
        return torch.zeros(batch, frames, width) if self.features is None else torch.zeros(batch, frames * width)

    @property
    def frame_length(self) -> int:
        """Places along the first input's second axis that make a frame."""
        return 1 if self.features is None else self.model.config.in_features

    def forward(self, x: Tensor, lengths: Tensor, speakers: Tensor | None = None) -> Tensor:
        """Log-probabilities ``[batch, classes]`` of features ``[batch, frames, features]``, or of samples."""
        lengths = lengths.clamp(self.frame_length, x.size(1))
        x = geometry.mask_frames(x, lengths)
        # Some runtimes' operators ignore NaN, and the result would look valid.
        finite = (x.abs() <= torch.finfo(torch.float32).max).flatten(1).all(1, keepdim=True)
        x = torch.where(finite if x.dim() == 2 else finite.unsqueeze(2), x, 0.0)
        features, lengths = (x, lengths) if self.features is None else self.features(x, lengths)
        standardised = self._standardise(features, lengths, finite, speakers)
        log_probabilities: Tensor = self.model(standardised, lengths)
        return torch.where(finite, log_probabilities, torch.nan)

    def _standardise(self, features: Tensor, lengths: Tensor, finite: Tensor, speakers: Tensor | None) -> Tensor:
        x, mean, std = features.double(), self.mean, self.std
        if self.policy != "corpus":
            counts = lengths.view(-1, 1, 1).double()
            if self.policy == "speaker":
                assert speakers is not None
                together = (speakers.unsqueeze(1) == speakers).double() * finite.view(1, -1)
                counts = _over_speakers(together, counts).clamp(min=1)
            else:
                together = None
            mean = _over_speakers(together, x.sum(dim=1, keepdim=True)) / counts
            squares = geometry.mask_frames(x - mean, lengths).square().sum(dim=1, keepdim=True)
            std = (_over_speakers(together, squares) / counts).sqrt()
        constant = std <= CONSTANT * mean.abs()
        return torch.where(constant, 0.0, (x - mean) / torch.where(constant, 1.0, std)).float()


def _over_speakers(together: Tensor | None, sums: Tensor) -> Tensor:
    """Sums ``[batch, 1, n]`` over the rows that are ``together`` ``[batch, batch]``, or of each row by itself."""
    return sums if together is None else (together @ sums.flatten(1)).unsqueeze(1)


def _check_target(path: Path) -> None:
    """Raises an error before the work, rather than after it, if the file cannot be written."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file to write")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} is not writable")


def _require_packages() -> None:
    for package in _REQUIRED:
        try:
            import_module(package)
        except ModuleNotFoundError:
            raise InputError(
                f"ONNX files need the package {package}, which is not installed; run: pip install 'convrnn[export]'"
            ) from None
        except ImportError as error:
            raise InputError(f"ONNX files need the package {package}, which cannot be loaded ({error})") from error


def _to_onnx(model: _Exported) -> Any:  # noqa: ANN401 - of onnx, which has no types
    x = model.example(2, 2 * model.model.shortest_input)
    lengths = torch.tensor([x.size(1), x.size(1) // 2])
    batch, frames = Dim("batch"), Dim("frames" if model.features is None else "samples")
    inputs = {model.input: (x, {0: batch, 1: frames}), "lengths": (lengths, {0: batch})}
    if model.policy == "speaker":
        inputs["speakers"] = (torch.zeros_like(lengths), {0: batch})
    # Imported here, since an interrupt while the exporter imports it would look like a fault of the model.
    import_module("torch._dynamo")
    with _quietly(), torch.inference_mode(), ops.use_backend("reference"):
        program = torch.onnx.export(
            model,
            tuple(example for example, _ in inputs.values()),
            input_names=list(inputs),
            output_names=["log_probabilities"],
            dynamic_shapes=tuple(shape for _, shape in inputs.values()),
            opset_version=OPSET,
            custom_translation_table={torch.ops.convrnn.lstm.default: _lstm_of_onnx()},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences the exporter's log messages and warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _lstm_of_onnx() -> Callable[..., Any]:
    """``convrnn::lstm`` as ONNX's LSTM operator."""
    from onnxscript import opset18

    op: Any = opset18

    def in_order(stacked: Any, order: tuple[int, ...]) -> Any:  # noqa: ANN401
        """Reorders gates that are stacked along the first axis."""
        parts = op.Split(stacked, axis=0, num_outputs=len(order))
        return op.Concat(*(parts[i] for i in order), axis=0)

    def lstm(
        x: Any,  # noqa: ANN401
        weight_ih: Any,  # noqa: ANN401
        weight_hh: Any,  # noqa: ANN401
        bias: Any = None,  # noqa: ANN401
        weight_peephole: Any = None,  # noqa: ANN401
        initial_hidden: Any = None,  # noqa: ANN401
        initial_cell: Any = None,  # noqa: ANN401
        lengths: Any = None,  # noqa: ANN401
        reverse: bool = False,
    ) -> Any:  # noqa: ANN401
        hidden = weight_hh.shape[1]
        i_o_f_g = (0, 3, 1, 2)
        first = op.Constant(value_ints=[0])
        batch = op.Shape(x, start=0, end=1)
        sizes = op.Concat(op.Constant(value_ints=[1]), batch, op.Constant(value_ints=[hidden]), axis=0)

        def state(vector: Any) -> Any:  # noqa: ANN401
            return None if vector is None else op.Expand(vector, sizes)

        if bias is not None:
            ordered = in_order(bias, i_o_f_g)
            bias = op.Unsqueeze(op.Concat(ordered, op.Sub(ordered, ordered), axis=0), first)
        if weight_peephole is not None:
            weight_peephole = op.Reshape(in_order(weight_peephole, (0, 2, 1)), op.Constant(value_ints=[1, 3 * hidden]))
        y, _, _ = op.LSTM(
            op.Transpose(x, perm=[1, 0, 2]),
            op.Unsqueeze(in_order(weight_ih, i_o_f_g), first),
            op.Unsqueeze(in_order(weight_hh, i_o_f_g), first),
            bias,
            None if lengths is None else op.Cast(lengths, to=6),  # int32
            state(initial_hidden),
            state(initial_cell),
            weight_peephole,
            direction="reverse" if reverse else "forward",
            hidden_size=hidden,
        )
        states = op.Transpose(op.Squeeze(y, op.Constant(value_ints=[1])), perm=[1, 0, 2])
        # ONNX's LSTM does not return every frame's cell state, and no model uses it; one that did would fail the check.
        return states, states

    return lstm


def _with_metadata(model: Any, bundle: Bundle, policy: NormalisePolicy) -> bytes:  # noqa: ANN401
    """The file's content, with the metadata and without the exporter's notes on source files and lines."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    config = bundle.config
    model.doc_string = (
        f"{config.name} of convrnn {config.convrnn_version}: {config.task} of recordings, as log-probabilities of "
        f"{', '.join(config.classes)}; the metadata says what the input is"
    )
    facts = config.model_dump(mode="json", exclude={"model", "statistics", "format_version"})
    facts |= {"normalise": policy, "standardised_within": True, **config.features.recipe}
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    content: bytes = model.SerializeToString()
    return content


def _largest_difference(content: bytes, model: _Exported) -> float:
    """Largest difference of a probability, over recordings shorter and longer than the receptive field."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    shortest = model.model.shortest_input
    rng = np.random.default_rng(0)
    largest = 0.0
    for frames in ([1], [shortest], [7 * shortest + 3, shortest + 1, 2, 3 * shortest]):
        lengths = model.frame_length * np.array(frames)
        shape = model.example(len(frames), max(frames)).shape
        x: NDArray[np.float32] = rng.normal(2.0, 3.0, shape).astype(np.float32)
        inputs = {model.input: x, "lengths": lengths}
        if model.policy == "speaker":
            inputs["speakers"] = np.arange(len(frames)) % 2
        with torch.inference_mode():
            expected = model(*map(torch.from_numpy, inputs.values())).exp().numpy()
        if not np.isfinite(expected).all():
            raise InputError("the model's probabilities are not numbers; its weights are damaged")
        [found] = session.run(None, inputs)
        largest = float(np.maximum(largest, np.abs(np.exp(found) - expected).max()))
    return largest
