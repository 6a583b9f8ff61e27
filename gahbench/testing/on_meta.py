"""Checks that plugins compute on one device, as a GPU demands, on torch's meta device, whose tensors have no values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gahbench._util.errors import error_with_location
from gahbench._util.readable import brief
from gahbench.testing.findings import Finding

DEVICE = torch.device("meta")
_COPIES = ("_to_copy", "copy_")
_INDEXING = ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_")
#: Operations, besides pointwise operations, that accept a CPU tensor without dimensions on a GPU.
_ACCEPTS_CPU_SCALARS = (*_INDEXING, "where", "fill_", "masked_fill", "masked_fill_")


class DeviceMixError(RuntimeError):
    """An operation got tensors or generators of different devices."""


def check_devices(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raise an error for an operation on tensors of the CPU and of another device, where a GPU would raise one."""
    name = func._schema.name.partition("::")[2]
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_cpu = [tensor for tensor in tensors if tensor.device.type == "cpu"]
    if name in _COPIES or len(on_cpu) in (0, len(tensors)):
        return
    accepted: list[Tensor] = []
    if torch.Tag.pointwise in func.tags or name in _ACCEPTS_CPU_SCALARS:
        written = args[0] if func._schema.arguments[0].alias_info is not None else None
        accepted += [tensor for tensor in on_cpu if tensor.dim() == 0 and tensor is not written]
    if name in _INDEXING and args[0].device.type != "cpu":
        accepted += [index for index in args[1] if index is not None]
    if rejected := [tensor for tensor in on_cpu if not any(tensor is other for other in accepted)]:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in rejected)
        raise DeviceMixError(f"{name}: expected all tensors on one device, but found a CPU tensor of shape {shapes}")


class OneDevice(TorchDispatchMode):
    """Raise an error in operations that a GPU would refuse, since some of their arguments are of the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation."""
        kwargs = kwargs or {}
        check_devices(func, args, kwargs)
        result, generator = func(*args, **kwargs), kwargs.get("generator")
        if generator is not None and isinstance(result, Tensor) and generator.device.type != result.device.type:
            raise DeviceMixError(f"{func}: expected a generator of the device, but found one of {generator.device}")
        return result


def check_on_meta(verb: str, compute: Callable[[], object]) -> Finding:
    """Check that a computation on the meta device would not fail on a GPU; the verb says what it does."""
    check = f"{verb} on one device"
    try:
        with OneDevice():  # type: ignore[no-untyped-call]
            compute()
    except Exception as error:
        # Other errors are no faults, since the meta device lacks values and some operations.
        text, detail = str(error), error_with_location(error)
        if isinstance(error, DeviceMixError) or "tensor to numpy" in text:
            return Finding(check, False, detail)
        needs_values = isinstance(error, NotImplementedError) or "meta tensor" in text
        note = "reads values, for which a GPU waits" if needs_values else "was not checked on torch's meta device"
        return Finding(f"{check}, but {note}", None, brief(detail, 300))
    return Finding(check, True)
