"""Registration of functions as PyTorch operations, ``torch.ops.convrnn.<name>``.

A registered operation takes its tensors and options one by one, because PyTorch's schemas have no record types. They
are packed into :class:`CellOperands` and :class:`Windows` and checked here, and nowhere else: an operation may be
called bypassing the public functions, and with a tensor of the wrong size or device a kernel would read out of bounds.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from convrnn.ops.checks import check_devices
from convrnn.ops.operands import CellOperands, LSTMOperands, Windows

LSTM = LSTMOperands.schema
"""The part of a schema that becomes :class:`LSTMOperands`."""

WINDOWS = "SymInt kernel_size, SymInt stride, str sequence, str reduce, bool reverse"
"""The part of a schema that becomes :class:`Windows`; it directly follows the operands."""

OPTIONS = WINDOWS.count(",") + 1
"""Number of the options of :class:`Windows`."""

_library = torch.library.Library("convrnn", "FRAGMENT")

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Operation:
    """An operation on the tensors of a cell.

    It works like ``torch.library.custom_op``, but neither imports PyTorch's compiler at the first call, which takes
    seconds, nor checks at every call whether arguments and results share memory: results are always new tensors.

    Args:
        schema: Name, arguments and results, with the operands' schema, and :data:`WINDOWS` for an operation over
            windows.
        run: The implementation. Its arguments are in the schema's order, with the checked operands and
            :class:`Windows` in place of their parts; it must check any others itself.
        fake: Results of the right shapes and dtypes, for compilers; the arguments are those of ``run``.
        operands: The type of the operands.
        key: PyTorch's dispatch key: "CPU" for CPU tensors only.

    Example:
        >>> def count_units(operands):
        ...     return operands.x.new_full((), operands.hidden)
        >>> operation = Operation(f"count_units({LSTM}) -> Tensor", count_units, count_units)
        >>> operation(torch.ones(1, 2, 3), torch.ones(8, 3), torch.ones(8, 2), *5 * [None])
        tensor(2.)
    """

    def __init__(
        self,
        schema: str,
        run: Callable[..., Any],
        fake: Callable[..., Any],
        *,
        operands: type[CellOperands] = LSTMOperands,
        key: str = "CompositeExplicitAutograd",
    ) -> None:
        name, _, arguments = schema.partition("(")
        self._run = run
        self._operands = operands
        self._first = arguments.partition(operands.schema)[0].count(",")
        self._after = self._first + operands.schema.count(",") + 1
        self._windowed = WINDOWS in schema
        self._qualified = f"convrnn::{name}"
        self.__doc__ = run.__doc__

        def run_flat(*flat: Any) -> Any:  # noqa: ANN401
            return self.run(*self.pack(flat))

        def fake_flat(*flat: Any) -> Any:  # noqa: ANN401
            check_devices(*flat)
            return fake(*self.pack(flat))

        _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        _library.impl(name, run_flat, key)
        torch.library.register_fake(self._qualified, fake_flat, lib=_library)
        self._overload = getattr(torch.ops.convrnn, name).default

    def run(self, *packed: Any) -> Any:  # noqa: ANN401
        """Check the operands and run the implementation without PyTorch's dispatcher; for packed arguments."""
        self.check(*packed[self._first :])
        return self._run(*packed)

    def check(self, operands: CellOperands, windows: Any = None, *_: Any) -> None:  # noqa: ANN401
        """Reject operands, and options of windows, that do not fit together.

        Raises:
            ValueError: naming what does not fit, and what is allowed.
        """
        kernel_size = None
        if self._windowed:
            windows.check(operands)
            kernel_size = windows.kernel_size
        operands.check(kernel_size)

    def pack(self, flat: tuple[Any, ...]) -> tuple[Any, ...]:
        """A call's arguments, packed into operands and, where they apply, :class:`Windows`."""
        operands = self._operands(*flat[self._first : self._after])
        if not self._windowed:
            return (*flat[: self._first], operands, *flat[self._after :])
        options = self._after + OPTIONS
        return (*flat[: self._first], operands, Windows(*flat[self._after : options]), *flat[options:])

    def __call__(self, *flat: Any) -> Any:  # noqa: ANN401
        """Call it through PyTorch's dispatcher; the arguments are the schema's."""
        return self._overload(*flat)

    def register_autograd(
        self, backward: Callable[..., Any], *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """Register the backward pass, as ``torch.library.register_autograd`` does."""
        torch.library.register_autograd(self._qualified, backward, setup_context=setup_context, lib=_library)


_PLAIN = {Tensor, torch.nn.Parameter, type(None)}


def is_traced(operands: CellOperands) -> bool:
    """Whether PyTorch has to see a call as an operation to compile, trace, count or profile it.

    Otherwise its dispatcher, which takes as long as a short sequence, is needed at most for a gradient.
    """
    return (
        torch.compiler.is_compiling()
        or not {type(tensor) for tensor in operands.tensors} <= _PLAIN
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._get_tracing_state() is not None
        or torch.autograd.profiler._is_profiler_enabled
    )


def register_composite(name: str, function: Callable[..., Any], schema: str | None = None) -> None:
    """Register a function composed of operations that PyTorch can differentiate and compile, transparent to compilers.

    Args:
        name: Name of the operation.
        function: Takes the arguments one by one, as in the schema.
        schema: Arguments and results; None reads them from the function's signature.
    """
    _library.define(name + (schema or torch.library.infer_schema(function, mutates_args=())))
    _library.impl(name, function, "CompositeImplicitAutograd")


def without_autocast(run: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wrap an implementation to run with autocast off; dtypes are fixed before the operation is called."""

    @functools.wraps(run)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        operands = next(argument for argument in args if isinstance(argument, CellOperands))
        device = operands.x.device.type
        if not torch.is_autocast_enabled(device):
            return run(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return run(*args, **kwargs)

    return wrapper
