"""Which implementation of the operations runs."""

from collections.abc import Iterator
from contextlib import contextmanager

BACKENDS: tuple[str, ...] = ("reference",)


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every operation within the ``with`` block on the named backend.

    Args:
        name: One of ``convrnn.ops.BACKENDS``. "reference" is the equations in plain PyTorch: any device and floating
            dtype, differentiable any number of times. It is the only one so far, and so the default.

    Raises:
        ValueError: for a name that is not a backend.

    Example:
        >>> import torch
        >>> import convrnn
        >>> with convrnn.ops.use_backend("reference"):
        ...     y = convrnn.nn.CLSTM(26, 100, kernel_size=5)(torch.zeros(1, 9, 26))
    """
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} does not exist; choose from {', '.join(BACKENDS)}")
    yield
