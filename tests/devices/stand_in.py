"""A stand-in for a GPU: its tensors compute on the CPU, cannot be mixed with CPU tensors, and record waits for the GPU.

After :func:`install`, ``standin`` is a torch device and a kind of hardware of gahbench. Since installation cannot be
undone, use it in a separate process. It does not reproduce the speed, rounding and random numbers of a GPU.
"""

import contextlib
import traceback
import weakref
from pathlib import Path

import torch
from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils import backend_registration

from gahbench.devices.hardware import KINDS, Hardware
from gahbench.testing.on_meta import DeviceMixError, check_devices

NAME = "standin"
IS_SUPPORTED = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
#: Folders to skip when a call is located: torch and this file.
SKIPPED = (str(Path(torch.__file__).parent), __file__)
#: Operations that read values back to check for errors, which torch does not tag as data dependent.
ERROR_CHECKED = ("_linalg_check_errors", "_linalg_eigh", "_linalg_svd", "linalg_eig", "linalg_lstsq")
READS_INDEX, WRITES_INDEX = ("index", "_unsafe_index"), ("index_put", "index_put_", "_index_put_impl_")
#: Lazy views, computed at once, because torch would compute them later without dispatching to the tensor class.
EAGER = {"_conj": torch.ops.aten._conj_physical.default, "_neg_view": torch.ops.aten.neg.default}
#: Constructors that torch implements by resizing their result.
FACTORIES = ["empty_strided", "arange", "linspace", "logspace", "eye", "randperm", "tril_indices", "triu_indices"]

#: Lists of recorded waits, one for each active context, and libraries of operations, which must be kept alive.
_records, _libraries = [], []


@contextlib.contextmanager
def record_waits():
    """Record the operations of all threads for which the CPU would wait for a GPU, in the list that it yields."""
    record = []
    _records.append(record)
    try:
        yield record
    finally:
        # Compare by identity, since different lists may be equal.
        _records[:] = [other for other in _records if other is not record]


def _record(kind, name):
    """Record a wait with the file and line of the innermost code outside torch."""
    if _records:
        frame = [frame for frame in traceback.extract_stack() if not frame.filename.startswith(SKIPPED)][-1]
        for record in _records:
            record.append(f"{kind} by {name} at {frame.filename}:{frame.lineno}")


class StandInTensor(Tensor):
    """A tensor on the stand-in GPU, which stores its values in a CPU tensor."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw):
        layout = {"layout": raw.layout}
        if raw.layout is torch.strided:
            layout = {"strides": raw.stride(), "storage_offset": raw.storage_offset()}
        tensor = Tensor._make_wrapper_subclass(cls, raw.size(), dtype=raw.dtype, device=torch.device(NAME, 0), **layout)
        tensor.raw = raw
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    # With these methods, Module.to() moves parameters in place, so that optimizers keep them, as on a GPU.
    def __tensor_flatten__(self):
        return ["raw"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return StandInTensor(inner["raw"])

    @property
    def data(self):
        return torch._C.TensorBase.data.__get__(self)

    @data.setter
    def data(self, other):
        if not isinstance(other, StandInTensor):
            raise DeviceMixError(f"data: a tensor on {NAME} cannot take the data of a tensor on {other.device}")
        torch._C.TensorBase.data.__set__(self, other)
        self.raw = other.raw

    def numpy(self, *, force=False):
        if not force:
            raise TypeError(f"can't convert {NAME} device type tensor to numpy. Use Tensor.cpu() first")
        return self.detach().cpu().numpy()

    def __array__(self, dtype=None):
        return self.numpy()

    def __reduce_ex__(self, protocol):
        arguments = self.detach().cpu(), self.dtype, f"{NAME}:0", self.requires_grad
        return torch._utils._rebuild_device_tensor_from_cpu_tensor, arguments

    def tolist(self):
        return self.detach().cpu().tolist()

    def __repr__(self, *, tensor_contents=None):
        return f"{self.raw!r} on {NAME}"

    def __format__(self, specification):
        return format(self.item() if self.dim() == 0 else repr(self), specification)


def _run(func, args, kwargs):
    """Run an operation on the CPU; its results are on the stand-in GPU unless the operation copies them to the CPU."""
    name = func._schema.name.partition("::")[2]
    check_devices(func, args, kwargs)
    _check_generator(kwargs.get("generator"), name)
    tensors = [leaf for leaf in tree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    on_device = [tensor for tensor in tensors if isinstance(tensor, StandInTensor)]
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    leaves_device = not isinstance(args[0], StandInTensor) if name == "copy_" else target and target.type != NAME
    # Copies to the meta device read no values.
    if (leaves_device and on_device and (target is None or target.type != "meta")) or _reads(func, name, args, kwargs):
        _record("read", name)
    elif len(on_device) < len(tensors) and (
        (name == "copy_" and not kwargs.get("non_blocking", args[2] if len(args) > 2 else False))
        or (name in READS_INDEX + WRITES_INDEX and not all(isinstance(index, StandInTensor) for index in args[1]))
    ):
        _record("upload", name)
    args, kwargs = _map(lambda tensor: getattr(tensor, "raw", tensor), [args, kwargs])
    if target is not None and target.type == NAME:
        kwargs["device"] = torch.device("cpu")
    results = EAGER.get(name, func)(*args, **kwargs)
    # In-place operations may change the shape of an argument, and return it.
    for tensor in on_device if func._schema.is_mutable else ():
        raw = tensor.raw
        if raw.layout is torch.strided and (raw.shape != tensor.shape or raw.stride() != tensor.stride()):
            torch._C.TensorBase.data.__set__(tensor, StandInTensor(raw))
    originals = {id(getattr(tensor, "raw", tensor)): tensor for tensor in tensors}
    return _map(lambda raw: originals.get(id(raw), raw if leaves_device else StandInTensor(raw)), results)


def _map(function, value):
    """Apply a function to the tensors in an argument or result of an operation; faster than torch's pytree."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _map(function, item) for key, item in value.items()}
    return type(value)([_map(function, item) for item in value]) if type(value) in (list, tuple) else value


def _reads(func, name, args, kwargs):
    """Return whether an operation reads values back, for its result, the shape of its result, or a check for errors."""
    if name in READS_INDEX + WRITES_INDEX:
        # Filling with a number at one mask does not read the mask.
        given = [index for index in args[1] if index is not None]
        is_fill = name in WRITES_INDEX and len(given) == 1 and args[2].dim() == 0
        has_mask = any(isinstance(index, StandInTensor) and index.dtype in (torch.bool, torch.uint8) for index in given)
        return has_mask and not is_fill
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return name in ERROR_CHECKED or bool(tags.intersection(func.tags))


#: Generators of the stand-in GPU, by the address that torch passes to operations.
_fake = weakref.WeakValueDictionary()


class _Generators(type(torch._C.Generator)):
    def __instancecheck__(cls, value):
        return isinstance(value, torch._C.Generator)


class Generator(torch._C.Generator, metaclass=_Generators):
    """A random generator of any device; generators of the stand-in GPU draw the same numbers as on the CPU."""

    def __new__(cls, device="cpu"):
        if torch.device(device).type != NAME:
            return torch._C.Generator(device)
        generator = super().__new__(cls, "cpu")
        _fake[generator._cdata] = generator
        return generator

    def __init__(self, device="cpu"):
        """Accept the device, which ``__new__`` has already used."""

    @property
    def device(self):
        return torch.device(NAME, 0)


def _check_generator(generator, name):
    if generator is not None and generator._cdata not in _fake:
        raise DeviceMixError(f"{name}: expected a generator of {NAME}")


class StandIn(Hardware):
    """The kind of hardware."""

    is_accelerator = has_bfloat16 = True

    @classmethod
    def devices(cls):
        return [cls(f"{NAME}:0")]


def install():
    """Register the stand-in GPU as a torch device and as a kind of hardware in this process, permanently."""
    if _libraries:
        return

    class Module(backend_registration._DummyBackendModule):
        def get_amp_supported_dtype(self):
            return [torch.bfloat16, torch.float16]

        def get_rng_state(self, device=None):
            return torch.default_generator.get_state()

        def set_rng_state(self, state, device=None):
            torch.default_generator.set_state(state)

    KINDS[NAME] = StandIn
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    torch.Generator = Generator
    library = torch.library.Library("aten", "IMPL", "PrivateUse1")
    autocast = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
    _libraries.extend([library, autocast])
    # Autocast changes no type, so that steps in bfloat16 are steps in float32.
    autocast.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    library.impl("empty.memory_format", _factory(torch.empty))
    library.impl("_efficientzerotensor", _factory(torch.zeros))
    library.impl("_copy_from", _copy_from)
    for packet in (getattr(torch.ops.aten, name) for name in FACTORIES):
        for overload in packet.overloads():
            if "out" not in overload and "Tensor" not in overload:
                library.impl(getattr(packet, overload), _factory(getattr(packet, overload)))


def _factory(operation):
    def make(*args, **kwargs):
        if "generator" in kwargs:
            _check_generator(kwargs["generator"], "randperm")
        given = {name: value for name, value in kwargs.items() if value is not None}
        return StandInTensor(operation(*args, **{**given, "device": torch.device("cpu"), "pin_memory": False}))

    return make


def _copy_from(source, target, non_blocking=False):
    """Copy a tensor in operations that bypass the tensor class, such as ``torch.tensor``."""
    if not isinstance(target, StandInTensor):
        _record("read", "copy_")
    elif not isinstance(source, StandInTensor) and not non_blocking:
        _record("upload", "copy_")
    getattr(target, "raw", target).copy_(getattr(source, "raw", source))
    return target
