"""Exports a trained model as an ONNX file, for use without PyTorch."""

import contextlib
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import Dim

from convrnn import ops
from convrnn.errors import Argument, InputError
from convrnn.features.normalise import NormalisePolicy
from convrnn.files import make_folder, write_atomically
from convrnn.models.bundle import Bundle
from convrnn.models.card import without_folder
from convrnn.models.onnx_int8 import Int8, compare_with_float, quantise
from convrnn.models.onnx_network import OnnxNetwork, SignalNetwork
from convrnn.models.onnx_sequences import translations

OPSET = 18
"""Version of ONNX's operators."""

TOLERANCE = 1e-4
"""Largest accepted difference of a probability from PyTorch's."""

_REQUIRED = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Export:
    """The result of :func:`export_onnx` or :func:`export_audonnx`.

    Attributes:
        path: The file or folder.
        size: Size of the ONNX file in bytes.
        normalise: Policy by which the file standardises features.
        difference: Largest difference of a probability between ONNX Runtime and PyTorch, over random test batches; with
            8-bit weights, before they were rounded.
        int8: With 8-bit weights, what these change.
    """

    path: Path
    size: int
    normalise: NormalisePolicy
    difference: float
    int8: Int8 | None = None


def export_onnx(
    bundle: Bundle,
    path: Path | str,
    *,
    normalise: NormalisePolicy | None = None,
    samples: bool | None = None,
    int8: bool = False,
) -> Export:
    """Writes a trained model as an ONNX file, after checking that ONNX Runtime gives the same results as PyTorch.

    The file takes any number of recordings of any length. Whole-sequence LSTMs become ONNX's own operator, peepholes
    included; the steps of a window are unrolled, or are a loop if they are many. With ``samples`` it computes the
    features too, so that nothing else has to be computed.

    ============================  ============================================================================
    input ``features``            float32 ``[batch, frames, features]``, as extracted; the file standardises them
    or input ``samples``          float32 ``[batch, samples]``, mono, with full scale 1, at the model's sample rate
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
        samples: Whether the file takes samples instead of features. By default only if the model is one of the raw
            waveform; others can be log mel models, but not eGeMAPS or frames.
        int8: Whether to round the weights of matrix products and LSTMs to 8 bits (ONNX Runtime's dynamic quantisation).

    Raises:
        InputError: A package of the extra "export" is missing, the policy is "corpus" and the model has no training
            statistics, its features cannot be computed from samples, its probabilities are NaN, 8-bit weights change
            them too much, or the file cannot be written.
        RuntimeError: ONNX Runtime's results differ from PyTorch's; nothing is written.

    Example:
        >>> from convrnn.models import Bundle, export_onnx
        >>> def ship(folder: str) -> None:
        ...     export_onnx(Bundle.load(folder), "model.onnx")
    """
    path = Path(path)
    _check_target(path)
    _require_packages()
    features = bundle.config.features
    samples = features.is_waveform if samples is None else samples
    network = OnnxNetwork(bundle, normalise or bundle.config.normalise, samples=samples).eval()
    content, difference, found = _content(network, bundle, network.policy, path, int8=int8)
    write_atomically(path, content)
    return Export(path, len(content), network.policy, difference, found)


def export_audonnx(
    bundle: Bundle, path: Path | str, *, normalise: NormalisePolicy | None = None, int8: bool = False
) -> Export:
    """Writes a trained model as a folder that ``audonnx.load`` opens and ``audinterface.Feature`` runs.

    ``model.onnx`` takes the samples of one recording, ``signal`` ``[1, samples]`` in float32 at the model's sample
    rate, and gives ``probabilities`` ``[1, classes]``; ``model.yaml`` has the names of the classes. A recording shorter
    than a frame is padded with zeros.

    Args:
        bundle: The trained model, on log mel features or the raw waveform.
        path: The folder; it is made if necessary, and the two files in it are replaced.
        normalise: A normalisation policy instead of the model's own; not "speaker", since the model gets one recording
            at a time.
        int8: As for :func:`export_onnx`.

    Raises:
        InputError: As for :func:`export_onnx`; the package audonnx is missing, or the policy is "speaker".
        RuntimeError: ONNX Runtime's results differ from PyTorch's; nothing is written.

    Example:
        >>> from convrnn.models import Bundle, export_audonnx
        >>> def ship(folder: str) -> None:
        ...     export_audonnx(Bundle.load(folder), "emotion-model")
    """
    path = Path(path)
    policy = normalise or bundle.config.normalise
    if policy == "speaker":
        raise InputError(
            "audonnx gives a model one recording at a time, but features are standardised per speaker; choose ",
            Argument("normalise", "utterance"),
            ", or better train the model with it",
        )
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: is a file; give a folder to write")
    _check_target(path.absolute() / "model.onnx" if path.is_dir() else path)
    _require_packages((*_REQUIRED, "audonnx"), "audonnx")
    network = SignalNetwork(OnnxNetwork(bundle, policy, samples=True)).eval()
    content, difference, found = _content(network, bundle, policy, path, int8=int8)
    labels = _audonnx_yaml(content, network.output, bundle.config.classes)
    make_folder(path)
    write_atomically(path / "model.onnx", content)
    write_atomically(path / "model.yaml", labels)
    return Export(path, len(content), policy, difference, found)


def _content(
    network: OnnxNetwork | SignalNetwork, bundle: Bundle, policy: NormalisePolicy, path: Path, *, int8: bool
) -> tuple[bytes, float, Int8 | None]:
    """The file's content, its largest difference from PyTorch, and what 8-bit weights change.

    Raises:
        RuntimeError: The results differ too much; ``path`` is only named.
    """
    model = _to_onnx(network)
    content = _with_metadata(model, bundle, policy)
    difference = _largest_difference(content, network)
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"ONNX Runtime's probabilities differ from PyTorch's by {difference:.2g}, more than {TOLERANCE:g}; "
            f"{path} was not written"
        )
    if not int8:
        return content, difference, None
    with _quietly():
        rounded = quantise(content)
    return rounded, difference, compare_with_float(rounded, content, network, path)


def _audonnx_yaml(content: bytes, output: str, classes: Sequence[str]) -> str:
    """Audonnx's description of the model, after it has opened the model itself."""
    import audonnx

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "model.onnx").write_bytes(content)
        audonnx.Model(str(place / "model.onnx"), labels={output: list(classes)}).to_yaml(str(place / "model.yaml"))
        audonnx.load(folder)
        return (place / "model.yaml").read_text(encoding="utf-8")


def _check_target(path: Path) -> None:
    """Raises an error before the work, rather than after it, if the file cannot be written."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file to write")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path}: the folder {path.parent} is not writable")


def _require_packages(packages: Sequence[str] = _REQUIRED, extra: str = "export") -> None:
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError:
            raise InputError(
                f"ONNX files need the package {package}, which is not installed; run: pip install 'convrnn[{extra}]'"
            ) from None
        except ImportError as error:
            raise InputError(f"ONNX files need the package {package}, which cannot be loaded ({error})") from error


def _to_onnx(network: OnnxNetwork | SignalNetwork) -> Any:  # noqa: ANN401 - of onnx, which has no types
    shortest = network.shortest_input
    inputs = network.inputs([2 * shortest, shortest], np.random.default_rng(0))
    axes = {name: Dim(name) for own in network.axes.values() for name in own if name is not None}
    shapes = [{i: axes[name] for i, name in enumerate(own) if name is not None} for own in network.axes.values()]
    # Imported here, since an interrupt while the exporter imports it would look like a fault of the model.
    import_module("torch._dynamo")
    with _quietly(), torch.inference_mode(), ops.use_backend("reference"):
        program = torch.onnx.export(
            network,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[network.output],
            dynamic_shapes=tuple(shapes),
            opset_version=OPSET,
            custom_translation_table=translations(),
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


def _with_metadata(model: Any, bundle: Bundle, policy: NormalisePolicy) -> bytes:  # noqa: ANN401
    """The file's content, with the metadata and without the exporter's notes on source files and lines."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    config = bundle.config
    output = graph.output[0].name.replace("_", "-")
    model.doc_string = (
        f"{config.name} of convrnn {config.convrnn_version}: {config.task} of recordings, as {output} of "
        f"{', '.join(config.classes)}; the metadata says what the input is"
    )
    facts = config.model_dump(mode="json", exclude={"model", "statistics", "format_version"})
    facts |= {"normalise": policy, "standardised_within": True, "corpus": without_folder(config.corpus)}
    facts |= config.features.recipe
    for name, value in facts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    content: bytes = model.SerializeToString()
    return content


def _largest_difference(content: bytes, network: OnnxNetwork | SignalNetwork) -> float:
    """Largest difference of a probability, over recordings shorter and longer than the receptive field."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    shortest = network.shortest_input
    rng = np.random.default_rng(0)
    largest = 0.0
    for frames in ([1], [shortest], [7 * shortest + 3, shortest + 1, 2, 3 * shortest]):
        inputs = network.inputs(frames, rng)
        with torch.inference_mode():
            expected = network.probabilities(network(*inputs.values())).numpy()
        if not np.isfinite(expected).all():
            raise InputError("the model's probabilities are not numbers; its weights are damaged")
        [output] = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        found = network.probabilities(torch.from_numpy(output)).numpy()
        largest = float(np.maximum(largest, np.abs(found - expected).max()))
    return largest
