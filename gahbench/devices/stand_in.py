"""A stand-in for a GPU: its tensors compute on the CPU, cannot be mixed with CPU tensors, and record waits for the GPU.

After :func:`install`, ``standin`` is a torch device like ``cuda``: ``tensor.to("standin")``,
``torch.zeros(3, device="standin")``, ``torch.Generator("standin")``, ``torch.autocast("standin")``. Since installation
cannot be undone, use the stand-in GPU in a separate process. It reveals code that fails on a GPU or makes a GPU idle.
It does not reproduce the speed, rounding and random numbers of a GPU.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gahbench._util.errors import GahbenchError
from gahbench.devices import stand_in_autocast, stand_in_generators
from gahbench.devices.stand_in_generators import NAME, DeviceMixError, NumpyError, caller, check_generator

__all__ = ["NAME", "DeviceMixError", "NumpyError", "StandInTensor", "Wait", "install", "is_supported", "record_waits"]

#: Operations that read values back from a GPU to check for errors, which torch does not tag as data dependent.
_ERROR_CHECKED = frozenset(("_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_eig", "linalg_lstsq"))
_COPIES = frozenset(("copy_", "_to_copy", "to", "_copy_from"))
_READS_INDEX = frozenset(("index", "_unsafe_index"))
_WRITES_INDEX = frozenset(("index_put", "index_put_", "_index_put_impl_"))
#: Operations, besides pointwise operations, that accept a CPU tensor of no dimensions together with GPU tensors.
_ACCEPTS_CPU_SCALARS = frozenset(("where", "masked_fill", "masked_fill_")) | _WRITES_INDEX
#: Names of operations that users know, by torch's internal names.
_USER_NAMES = {"_local_scalar_dense": "item", "_to_copy": "copy", "copy_": "copy"}
#: Lazy views, computed at once, because torch would compute them later without dispatching to the tensor class.
_EAGER = {"_conj": torch.ops.aten._conj_physical.default, "_neg_view": torch.ops.aten.neg.default}
#: Constructors that torch implements by resizing their result.
_FACTORIES = (
    *("arange", "arange.start", "arange.start_step", "linspace", "logspace", "eye", "eye.m", "randperm"),
    *("randperm.generator", "range", "range.step", "tril_indices", "triu_indices"),
)


@dataclass(frozen=True)
class Wait:
    """An operation for which the CPU would have waited for a GPU."""

    kind: str
    operation: str
    location: str

    def __str__(self) -> str:
        return f"{self.kind} by {_USER_NAMES.get(self.operation, self.operation)} at {self.location}"


#: Lists of recorded waits, one for each active context.
_records: list[list[Wait]] = []


@contextlib.contextmanager
def record_waits() -> Iterator[list[Wait]]:
    """Record the waits of all threads within a context, in the list that it yields."""
    record: list[Wait] = []
    _records.append(record)
    try:
        yield record
    finally:
        # Compare by identity, since different lists may be equal.
        _records[:] = [other for other in _records if other is not record]


class StandInTensor(Tensor):
    """A tensor on the stand-in GPU, which stores its values in a CPU tensor."""

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, raw: Tensor) -> StandInTensor:
        """Return a tensor that shares the memory of a CPU tensor."""
        layout: dict[str, Any] = {"layout": raw.layout}
        if raw.layout is torch.strided:
            layout = {"strides": raw.stride(), "storage_offset": raw.storage_offset()}
        tensor: StandInTensor = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), dtype=raw.dtype, device=torch.device(NAME, 0), **layout
        )
        tensor.raw = raw
        return tensor

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation on tensors of the stand-in GPU."""
        return _run(func, args, kwargs or {})

    # With these methods, Module.to() moves parameters in place, so that optimizers keep them, as on a GPU.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Return the names of the inner tensors."""
        return ["raw"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], context: None, size: Any, stride: Any) -> StandInTensor:
        """Rebuild a tensor from its inner tensors."""
        return StandInTensor(inner["raw"])

    @property
    def data(self) -> Tensor:
        """The tensor without its autograd history."""
        return torch._C.TensorBase.data.__get__(self)  # type: ignore[attr-defined, no-any-return]

    @data.setter
    def data(self, other: Tensor) -> None:
        if not isinstance(other, StandInTensor):
            raise DeviceMixError(
                f"data: a tensor on {NAME} cannot take the data of a tensor on {other.device} at {caller()}"
            )
        torch._C.TensorBase.data.__set__(self, other)  # type: ignore[attr-defined]
        self.raw = other.raw

    def numpy(self, *, force: bool = False) -> Any:
        """Raise an error, like a GPU tensor, unless ``force`` is set."""
        if not force:
            raise NumpyError(f"can't convert a tensor on {NAME} to numpy. Use Tensor.cpu() first")
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        """Raise an error, like a GPU tensor."""
        return self.numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return the function and arguments that load the tensor on the requested device."""
        arguments = self.detach().cpu(), self.dtype, f"{NAME}:0", self.requires_grad
        return torch._utils._rebuild_device_tensor_from_cpu_tensor, arguments

    def tolist(self) -> Any:
        """Return the values as numbers, which waits for the device."""
        return self.detach().cpu().tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """Return a string with the values and the device."""
        return f"{self.raw!r} on {NAME}"

    def __format__(self, specification: str) -> str:
        """Format a number, which waits for the device."""
        return format(self.item(), specification) if self.dim() == 0 else format(repr(self), specification)


def _record(kind: str, name: str) -> None:
    if _records:
        wait = Wait(kind, name, caller())
        for record in _records:
            record.append(wait)


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU; its results are on the stand-in GPU unless the operation copies them to the CPU."""
    name = func._schema.name.partition("::")[2]
    tensors: list[Tensor] = []

    def unwrap(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor.raw if isinstance(tensor, StandInTensor) else tensor

    raw_args, raw_kwargs = _map_tensors(unwrap, args), {key: _map_tensors(unwrap, kwargs[key]) for key in kwargs}
    device_tensors = [tensor for tensor in tensors if isinstance(tensor, StandInTensor)]
    cpu_tensors = [tensor for tensor in tensors if not isinstance(tensor, StandInTensor)]
    if cpu_tensors and device_tensors and name not in _COPIES:
        _reject_mixture(func, name, args, cpu_tensors)
    check_generator(kwargs.get("generator"), name)
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    leaves_device = (target is not None and target.type != NAME) or (
        name == "copy_" and not isinstance(args[0], StandInTensor)
    )
    # Copies to the meta device read no values.
    is_read = bool(leaves_device and device_tensors and (target is None or target.type != "meta"))
    if is_read or _depends_on_values(func, name, args, kwargs):
        _record("read", name)
    elif name == "copy_" and cpu_tensors and not kwargs.get("non_blocking", args[2] if len(args) > 2 else False):
        _record("upload", name)
    if target is not None and target.type == NAME:
        raw_kwargs["device"] = torch.device("cpu")
    results = _EAGER.get(name, func)(*raw_args, **raw_kwargs)
    if func._schema.is_mutable:
        for tensor in device_tensors:
            _update_shape(tensor)
    # An in-place operation returns one of its arguments.
    arguments = {id(tensor.raw): tensor for tensor in device_tensors} | {id(tensor): tensor for tensor in cpu_tensors}

    def wrap(tensor: Tensor) -> Tensor:
        if id(tensor) in arguments:
            return arguments[id(tensor)]
        return tensor if leaves_device else StandInTensor(tensor)

    return _map_tensors(wrap, results)


def _map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Apply a function to the tensors in an argument or result of an operation; faster than torch's pytree."""
    if isinstance(value, Tensor):
        return function(value)
    if type(value) in (list, tuple):
        return type(value)([_map_tensors(function, item) for item in value])
    return value


def _update_shape(tensor: StandInTensor) -> None:
    """Update the shape of a tensor, which an in-place operation may have changed."""
    raw = tensor.raw
    if raw.layout is torch.strided and (raw.shape != tensor.shape or raw.stride() != tensor.stride()):
        torch._C.TensorBase.data.__set__(tensor, StandInTensor(raw))  # type: ignore[attr-defined]


def _reject_mixture(func: Any, name: str, args: tuple[Any, ...], cpu_tensors: list[Tensor]) -> None:
    """Raise an error if a GPU would reject CPU tensors in an operation."""
    accepted: list[Tensor] = []
    if torch.Tag.pointwise in func.tags or name in _ACCEPTS_CPU_SCALARS:
        is_written = func._schema.arguments[0].alias_info is not None
        accepted = [tensor for tensor in cpu_tensors if tensor.dim() == 0 and not (is_written and tensor is args[0])]
    if name in _READS_INDEX | _WRITES_INDEX and isinstance(args[0], StandInTensor):
        indices = [index for index in args[1] if index is not None and not isinstance(index, StandInTensor)]
        if indices:
            _record("upload", name)
        accepted += indices
    rejected = [tensor for tensor in cpu_tensors if not any(tensor is other for other in accepted)]
    if rejected:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in rejected)
        raise DeviceMixError(
            f"{name} at {caller()}: expected all tensors on one device, but found {NAME}:0 and cpu (shape {shapes})"
        )


def _depends_on_values(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an operation reads values back, for its result, the shape of its result, or a check for errors."""
    if name in _READS_INDEX | _WRITES_INDEX:
        masks = [
            index for index in args[1] if isinstance(index, StandInTensor) and index.dtype in (torch.bool, torch.uint8)
        ]
        # Filling with a number at one mask does not read the mask. Filling with a GPU tensor would read it, but such a
        # tensor cannot be distinguished from a number here.
        given = [index for index in args[1] if index is not None]
        is_fill = name in _WRITES_INDEX and len(given) == 1 and args[2].dim() == 0
        return bool(masks) and not is_fill
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    return name in _ERROR_CHECKED or _is_data_dependent(func)


@functools.cache
def _is_data_dependent(func: Any) -> bool:
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


def _factory(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(*args: Any, **kwargs: Any) -> Tensor:
        if "generator" in kwargs:
            check_generator(kwargs["generator"], operation.__name__)
        return StandInTensor(operation(*args, **{**kwargs, "device": torch.device("cpu"), "pin_memory": False}))

    return make


def is_supported() -> bool:
    """Return whether this version of torch supports the stand-in GPU."""
    from torch.utils import backend_registration

    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


#: Libraries of registered operations, which must be kept alive.
_libraries: list[torch.library.Library] = []


def install() -> None:
    """Register the stand-in GPU as a torch device in this process, permanently."""
    from torch.utils import backend_registration

    if _libraries:
        return
    if not is_supported():
        raise GahbenchError(
            f"the device '{NAME}' needs torch 2.10 or later, with Python backends; this is torch {torch.__version__}"
        )

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self) -> list[torch.dtype]:
            return [torch.bfloat16, torch.float16]

        def get_rng_state(self, device: Any = None) -> Tensor:
            return torch.default_generator.get_state()

        def set_rng_state(self, state: Tensor, device: Any = None) -> None:
            torch.default_generator.set_state(state)

    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    stand_in_generators.install()
    library: Any = torch.library.Library("aten", "IMPL", "PrivateUse1")  # type: ignore[no-untyped-call]
    _libraries.append(library)
    library.impl("empty.memory_format", _empty)
    library.impl("empty_strided", _empty_strided)
    library.impl("_copy_from", _copy_from)
    library.impl("_efficientzerotensor", _zeros)
    for name in _FACTORIES:
        packet, _, overload = name.partition(".")
        library.impl(name, _factory(getattr(getattr(torch.ops.aten, packet), overload or "default")))
    _libraries.extend(stand_in_autocast.libraries())


def _empty(size: Any, *, dtype: Any = None, memory_format: Any = None, **options: Any) -> Tensor:
    return StandInTensor(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    return StandInTensor(torch.empty_strided(size, stride, dtype=dtype))


def _zeros(size: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    return StandInTensor(torch.zeros(size, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy a tensor in operations that bypass the tensor class, such as ``torch.tensor``."""
    if not isinstance(source, StandInTensor) and not non_blocking:
        _record("upload", "copy_")
    elif not isinstance(target, StandInTensor):
        _record("read", "copy_")
    raw = [tensor.raw if isinstance(tensor, StandInTensor) else tensor for tensor in (source, target)]
    raw[1].copy_(raw[0])
    return target
