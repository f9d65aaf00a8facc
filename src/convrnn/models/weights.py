"""A model's weights in a safetensors file, which is checked before any of it is used."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from convrnn.errors import InputError, one_sentence
from convrnn.plain_text import encodable

MOST_PARAMETERS = 2**28
"""Maximum number of parameters of a model (1 GiB); the paper's models have less than two million."""

MOST_HEADER_BYTES = 2**24
"""Maximum size of the file's header in bytes, enough for 100,000 tensors."""

_DIGEST = "sha256"
"""Key of :func:`weights_digest` in the metadata of the file."""


def weights_file(weights: Mapping[str, Tensor]) -> bytes:
    """The content of a file that :func:`load_weights` reads; it includes the digest of the weights."""
    return save(dict(weights), {_DIGEST: weights_digest(weights)})


def load_weights(path: Path, model: nn.Module) -> None:
    """Loads a file's weights into a model on the meta device; the file has to hold exactly the model's weights.

    Names, shapes and types are compared before anything is allocated.

    Args:
        path: The file.
        model: The model.

    Raises:
        InputError: The file is missing or damaged, or its weights are not the model's.
    """
    if not path.exists():
        raise InputError(f"{path.parent}: {path.name} is missing; a saved model has it beside config.json")
    try:
        with _named_in_unicode(path) as readable:
            _check_header(path, readable, model.state_dict())
            state = load_file(readable)
            model.load_state_dict(state, assign=True)
            with safe_open(readable, "pt") as file:
                told = (file.metadata() or {}).get(_DIGEST)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(f"{path}: the weights are damaged ({one_sentence(str(error), 160)})") from None
    # Files of earlier versions have no digest.
    if told is not None and told != weights_digest(state):
        raise InputError(f"{path}: the weights are damaged: they are not those that were saved")
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{path}: the weights are damaged: {name} has values that are not finite")


@contextlib.contextmanager
def _named_in_unicode(path: Path) -> Iterator[Path]:
    """The file, or a copy of it where its path is not UTF-8, which safetensors cannot open."""
    if encodable(str(path)) == str(path):
        yield path
        return
    with TemporaryDirectory() as folder:
        yield Path(shutil.copyfile(path, Path(folder) / path.name.encode("ascii", "replace").decode()))


def _check_header(path: Path, readable: Path, expected: Mapping[str, Tensor]) -> None:
    """Compares the file's header with the model.

    Raises:
        InputError: They differ, or the header announces more than is allowed.
    """
    if not path.is_file():
        raise InputError(f"{path}: is not a regular file, expected the model's weights")
    if (parameters := sum(tensor.numel() for tensor in expected.values())) > MOST_PARAMETERS:
        raise InputError(f"{path.parent}: the model has {parameters} parameters, more than {MOST_PARAMETERS}")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MOST_HEADER_BYTES:
        raise InputError(f"{path}: the weights are damaged (their header announces {header} bytes for itself)")
    with safe_open(readable, "pt") as tensors:
        for name in sorted(expected.keys() ^ set(tensors.keys())):
            told = "is missing" if name in expected else "is not in the model"
            raise InputError(f"{path}: the weights do not fit config.json ({one_sentence(name, 80)} {told})")
        for name, tensor in expected.items():
            found, shape = tensors.get_slice(name), list(tensor.shape)
            if found.get_shape() != shape:
                raise InputError(
                    f"{path}: the weights do not fit config.json ({name} has shape {found.get_shape()}, but the model "
                    f"takes {shape})"
                )
            if found.get_dtype() != "F32":
                raise InputError(f"{path}: the weights are damaged ({name} has type {found.get_dtype()}, not F32)")


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, types, shapes and values of tensors on the CPU, in the order of their names.

    Example:
        >>> weights_digest({"a": torch.zeros(2), "b": torch.ones(1)})[:8]
        '7f5f9e7a'
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode("ascii"))
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
