"""A stand-in for a GPU: its tensors compute on the CPU, refuse to meet CPU tensors, and record what a GPU waits for.

After :func:`install`, ``standin`` is a device of torch, as ``cuda`` is: ``tensor.to("standin")``,
``torch.zeros(3, device="standin")``, ``torch.Generator("standin")``, ``torch.autocast("standin")``. Installing it
cannot be undone, so it belongs in a process of its own. It shows which code fails on a GPU, and which makes a GPU idle.
It does not show how fast a GPU is, how its kernels round, or which random numbers it draws: these are the CPU's.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

from gahbench._util.errors import GahbenchError
from gahbench.devices import stand_in_autocast, stand_in_generators
from gahbench.devices.stand_in_generators import NAME, MixtureError, NumpyError, check_generator, place

__all__ = ["NAME", "MixtureError", "NumpyError", "StandInTensor", "Wait", "install", "is_supported", "waits_recorded"]

#: Operations that read values on a GPU, to learn whether they have succeeded, although their results do not say so.
_CHECKED = frozenset(("_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_eig", "linalg_lstsq"))
_COPIES = frozenset(("copy_", "_to_copy", "to", "_copy_from"))
_READS_INDEX = frozenset(("index", "_unsafe_index"))
_WRITES_INDEX = frozenset(("index_put", "index_put_", "_index_put_impl_"))
#: Operations beside pointwise ones in which a CPU tensor of no dimensions may meet tensors of a GPU.
_TAKES_NUMBERS = frozenset(("where", "masked_fill", "masked_fill_")) | _WRITES_INDEX
#: Operations by the names that users know.
_KNOWN_AS = {"_local_scalar_dense": "item", "_to_copy": "copy", "copy_": "copy"}
#: Views that torch marks and computes later, where the class of a tensor does not see it.
_EAGER = {"_conj": torch.ops.aten._conj_physical.default, "_neg_view": torch.ops.aten.neg.default}
#: Constructors that resize their result.
_FACTORIES = (
    *("arange", "arange.start", "arange.start_step", "linspace", "logspace", "eye", "eye.m", "randperm"),
    *("randperm.generator", "range", "range.step", "tril_indices", "triu_indices"),
)


@dataclass(frozen=True)
class Wait:
    """Something that a GPU would have waited for."""

    kind: str
    operation: str
    place: str

    def __str__(self) -> str:
        return f"{self.kind} by {_KNOWN_AS.get(self.operation, self.operation)} at {self.place}"


#: Where waits are recorded; the innermost list is the last.
_records: list[list[Wait]] = []


@contextlib.contextmanager
def waits_recorded() -> Iterator[list[Wait]]:
    """Record the waits within a context, of all threads, in the list that it yields."""
    record: list[Wait] = []
    _records.append(record)
    try:
        yield record
    finally:
        # By identity: empty lists are equal.
        _records[:] = [other for other in _records if other is not record]


class StandInTensor(Tensor):
    """A tensor on the stand-in, which keeps its values in a tensor on the CPU."""

    raw: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, raw: Tensor) -> StandInTensor:
        """Return a tensor that shares the memory of a tensor on the CPU."""
        layout: dict[str, Any] = {"layout": raw.layout}
        if raw.layout is torch.strided:
            layout = {"strides": raw.stride(), "storage_offset": raw.storage_offset()}
        made: StandInTensor = torch.Tensor._make_wrapper_subclass(
            cls, raw.size(), dtype=raw.dtype, device=torch.device(NAME, 0), **layout
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation."""
        return _run(func, args, kwargs or {})

    # Module.to() exchanges the parameters of such classes in place, so that optimizers keep them, as on a GPU.
    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Return the names of the tensors that it is made of."""
        return ["raw"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], context: None, size: Any, stride: Any) -> StandInTensor:
        """Return the tensor that is made of others."""
        return StandInTensor(inner["raw"])

    @property
    def data(self) -> Tensor:
        """The tensor without its history."""
        return torch._C.TensorBase.data.__get__(self)  # type: ignore[attr-defined, no-any-return]

    @data.setter
    def data(self, other: Tensor) -> None:
        if not isinstance(other, StandInTensor):
            raise MixtureError(f"data: a tensor of {NAME} cannot take the data of one of {other.device} at {place()}")
        torch._C.TensorBase.data.__set__(self, other)  # type: ignore[attr-defined]
        self.raw = other.raw

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as a tensor of a GPU does, unless forced."""
        if not force:
            raise NumpyError(f"can't convert a tensor of {NAME} to numpy. Use Tensor.cpu() before")
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None) -> Any:
        """Refuse, as a tensor of a GPU does."""
        return self.numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return how to load the tensor, on the device that the loader asks for."""
        given = self.detach().cpu(), self.dtype, f"{NAME}:0", self.requires_grad
        return torch._utils._rebuild_device_tensor_from_cpu_tensor, given

    def tolist(self) -> Any:
        """Return the values, which waits."""
        return self.detach().cpu().tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """Return the values and the device."""
        return f"{self.raw!r} on {NAME}"

    def __format__(self, specification: str) -> str:
        """Format a number, which waits."""
        return format(self.item(), specification) if self.dim() == 0 else format(repr(self), specification)


def _record(kind: str, name: str) -> None:
    if _records:
        wait = Wait(kind, name, place())
        for record in _records:
            record.append(wait)


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the CPU; its results are on the stand-in unless it copies them away."""
    name = func._schema.name.partition("::")[2]
    tensors = [leaf for leaf in tree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    device_tensors = [tensor for tensor in tensors if isinstance(tensor, StandInTensor)]
    cpu_tensors = [tensor for tensor in tensors if not isinstance(tensor, StandInTensor)]
    if cpu_tensors and device_tensors and name not in _COPIES:
        _refuse_mixture(func, name, args, cpu_tensors)
    check_generator(kwargs.get("generator"), name)
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    leaves = (target is not None and target.type != NAME) or (
        name == "copy_" and not isinstance(args[0], StandInTensor)
    )
    # A tensor of the meta device has no values.
    is_read = bool(leaves and device_tensors and (target is None or target.type != "meta"))
    if is_read or _depends_on_values(func, name, args, kwargs):
        _record("read", name)
    elif name == "copy_" and cpu_tensors and not kwargs.get("non_blocking", args[2] if len(args) > 2 else False):
        _record("upload", name)
    raw_args, raw_kwargs = tree.tree_map_only(StandInTensor, lambda tensor: tensor.raw, (args, kwargs))
    if target is not None and target.type == NAME:
        raw_kwargs["device"] = torch.device("cpu")
    results = _EAGER.get(name, func)(*raw_args, **raw_kwargs)
    if func._schema.is_mutable:
        for tensor in device_tensors:
            _update_shape(tensor)
    # An operation in place returns the tensor that it was given.
    known = {id(tensor.raw): tensor for tensor in device_tensors} | {id(tensor): tensor for tensor in cpu_tensors}

    def wrap(tensor: Tensor) -> Tensor:
        if id(tensor) in known:
            return known[id(tensor)]
        return tensor if leaves else StandInTensor(tensor)

    return tree.tree_map_only(Tensor, wrap, results)


def _update_shape(tensor: StandInTensor) -> None:
    """Give a tensor the shape of its values, which an operation may have changed in place."""
    raw = tensor.raw
    if raw.layout is torch.strided and (raw.shape != tensor.shape or raw.stride() != tensor.stride()):
        torch._C.TensorBase.data.__set__(tensor, StandInTensor(raw))  # type: ignore[attr-defined]


def _refuse_mixture(func: Any, name: str, args: tuple[Any, ...], cpu_tensors: list[Tensor]) -> None:
    """Raise an error where a GPU would refuse tensors of the CPU."""
    accepted: list[Tensor] = []
    if torch.Tag.pointwise in func.tags or name in _TAKES_NUMBERS:
        is_written = func._schema.arguments[0].alias_info is not None
        accepted = [tensor for tensor in cpu_tensors if tensor.dim() == 0 and not (is_written and tensor is args[0])]
    if name in _READS_INDEX | _WRITES_INDEX and isinstance(args[0], StandInTensor):
        indices = [index for index in args[1] if index is not None and not isinstance(index, StandInTensor)]
        if indices:
            _record("upload", name)
        accepted += indices
    refused = [tensor for tensor in cpu_tensors if not any(tensor is other for other in accepted)]
    if refused:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in refused)
        raise MixtureError(
            f"{name} at {place()}: expected all tensors on one device, but found {NAME}:0 and cpu (shape {shapes})"
        )


def _depends_on_values(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether an operation returns numbers, or a shape, that depend on values, or must know whether it succeeded."""
    if name in _READS_INDEX | _WRITES_INDEX:
        masks = [
            index for index in args[1] if isinstance(index, StandInTensor) and index.dtype in (torch.bool, torch.uint8)
        ]
        # A GPU fills with a number where one mask says so, without counting. It would count for a tensor of the device,
        # which cannot be told from a number here.
        known = [index for index in args[1] if index is not None]
        fills = name in _WRITES_INDEX and len(known) == 1 and args[2].dim() == 0
        return bool(masks) and not fills
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    return name in _CHECKED or _reads(func)


@functools.cache
def _reads(func: Any) -> bool:
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


def _factory(operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def make(*args: Any, **kwargs: Any) -> Tensor:
        if "generator" in kwargs:
            check_generator(kwargs["generator"], operation.__name__)
        return StandInTensor(operation(*args, **{**kwargs, "device": torch.device("cpu"), "pin_memory": False}))

    return make


def is_supported() -> bool:
    """Whether this torch has what the stand-in is made of."""
    from torch.utils import backend_registration

    return hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


#: The libraries of operations, which end with the objects.
_libraries: list[torch.library.Library] = []


def install() -> None:
    """Make the stand-in a device of torch in this process, for good."""
    from torch.utils import backend_registration

    if _libraries:
        return
    if not is_supported():
        raise GahbenchError(
            f"the device '{NAME}' needs a torch with Python backends, from 2.10 on; this is {torch.__version__}"
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
    """Copy, where torch does so without asking the class of the tensor, as ``torch.tensor`` does."""
    if not isinstance(source, StandInTensor) and not non_blocking:
        _record("upload", "copy_")
    elif not isinstance(target, StandInTensor):
        _record("read", "copy_")
    raw = [tensor.raw if isinstance(tensor, StandInTensor) else tensor for tensor in (source, target)]
    raw[1].copy_(raw[0])
    return target
