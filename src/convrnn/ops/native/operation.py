"""How the CPU kernel's functions become operations that PyTorch knows."""

from collections.abc import Callable
from typing import Any

import torch

_library = torch.library.Library("convrnn", "FRAGMENT")


class Operation:
    """A function on CPU tensors as ``torch.ops.convrnn.<its name>``; used as a decorator.

    What ``torch.library.custom_op`` does, but without importing PyTorch's compiler at the first call, which takes
    seconds, and without looking through all arguments for shared memory at every call: the kernel's results are always
    new.

    Example:
        >>> @Operation
        ... def doubled(x: torch.Tensor) -> torch.Tensor:
        ...     return 2 * x
        >>> torch.ops.convrnn.doubled(torch.ones(1))
        tensor([2.])
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        name = function.__name__
        schema = torch.library.infer_schema(function, mutates_args=())
        _library.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, function, "CPU")
        self._qualified = f"convrnn::{name}"
        self._overload = getattr(torch.ops.convrnn, name).default
        self.__doc__ = function.__doc__

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - as the function
        """Call it by way of PyTorch's dispatcher."""
        return self._overload(*arguments)

    def register_fake(self, fake: Callable[..., Any]) -> Callable[..., Any]:
        """Say what shapes come out, for compilers; used as a decorator."""
        torch.library.register_fake(self._qualified, fake, lib=_library)
        return fake

    def register_autograd(
        self, backward: Callable[..., Any], *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """Say how it is differentiated, as ``torch.library.register_autograd`` does."""
        torch.library.register_autograd(self._qualified, backward, setup_context=setup_context, lib=_library)
