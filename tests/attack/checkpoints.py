"""Hostile files of weights, for every command that loads a published network."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save

import gahbench
from gahbench.registry.registry import open_registry
from gahbench.registry.spec import Spec

from .array_files import KINDS, Hostile, pt, recompress, tensors
from .harness import Campaign, accept_errors
from .hostile import texts
from .hostile_files import SPECIAL, make_special
from .image_bytes import DAMAGES, damage_bytes

#: Small networks.
NETWORKS = (
    "bf-cnn-rf[layers=3,width=2]", "bf-cnn[layers=3,width=2]", "dncnn[layers=3,width=2,bias=false]", "linear",
    "unet[width=2,levels=1]",
)  # fmt: skip
#: Names of weights in published programs, so that every key map is used.
PUBLISHED = (
    "0.weight", "0.bias", "2.weight", "2.running_var", "4.weight", "01.weight", "١.weight", "9" * 5000 + ".weight",
    "conv_layers.0.weight", "conv_layers.1.weight", "BN_layers.0.gammas", "BN_layers.0.running_sd",
    "mid_block.0.weight", "encoder.0.0.weight", "decoder", "decoder.x.weight", "decoder.0.0.weight",
    "upsample", "middle.0.weight",
    "first_layer.weight", "first_layer.bias", "last_layer.weight", "hidden_layer_list.0.weight",
    "bn_layer_list.0.weight",
    "bn_layer_list.0.running_var", "bn_layer_list.0.running_mean", "bn_layer_list.0.bias", "num_batches_tracked",
)  # fmt: skip
WRAPPERS = ("params_ema", "ema", "state_dict", "model", "net", "0")
SHAPES = ((), (0,), (1,), (2,), (2, 1, 3, 3), (2, 2, 3, 3), (1, 2, 3, 3), (1, 1, 1, 1, 1), (10**4, 10**4), (2, 0, 3, 3))


@dataclass(frozen=True)
class Case:
    """A file of weights, and the reader and architecture that load it.

    The content is bytes, or the kind of a special file. The reader is ``denoise``, ``sample`` or ``inspect``. The
    parameters are those of the reference ``pretrained``.
    """

    suffix: str
    content: bytes | str
    architecture: str
    reader: str
    parameters: dict[str, Any] = field(default_factory=dict)


def attempt(case: Case, scratch: Path) -> None:
    """Load weights like commands and Python; no code in the file may run."""
    path = scratch / f"weights{case.suffix}"
    if isinstance(case.content, bytes):
        path.write_bytes(case.content)
    else:
        make_special(case.content, path)
    with accept_errors():
        _load(case, path)
    assert not (scratch / Hostile.marker).exists(), "a payload ran"


def _load(case: Case, path: Path) -> None:
    parameters = {"architecture": case.architecture, "checkpoint": str(path), **case.parameters}
    start = f"{case.architecture[:-1]}," if "[" in case.architecture else "linear["
    spec = f"{start}checkpoint={path}]"
    if case.reader == "sample":
        sampled = gahbench.sample(spec, dataset="discs[size=8]", count=1, max_steps=1, device="cpu")
        assert sampled.images.shape == (1, 1, 8, 8)
        return
    if case.reader == "inspect":
        inspection = gahbench.inspect(spec, dataset="discs[size=8]", sigmas=[0.1], bases=["dct"], others=0)
        assert inspection.levels[0].eigenvalues.shape == (64,)
        return
    configured = open_registry().configure("reference", Spec("pretrained", (), parameters))
    assert len(configured.identity["parameters"]["checkpoint"]["sha256"]) == 64
    reference = configured.build()
    reference.check_shape((1, 8, 8))
    noisy = torch.zeros(1, 1, 8, 8)
    denoised = reference.denoise(noisy, 0.1, gahbench.Truth(noisy))
    assert denoised.shape == noisy.shape
    assert denoised.isfinite().all(), "weights that are not finite were accepted"


def state(architecture: str) -> dict[str, torch.Tensor]:
    """Return valid weights of an architecture."""
    network = open_registry().configure("architecture", architecture).build((1, 8, 8))
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def safetensors(header: Any, data: bytes, length: int | None = None) -> bytes:
    """Return a safetensors file with any header and any stated length of the header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", (len(text) if length is None else length) % 2**64) + text + data


@st.composite
def states(draw: st.DrawFn, architecture: str) -> Any:
    """Draw a state dict, usually a valid one with some changes, possibly nested in other containers."""
    weights: dict[Any, Any] = dict(state(architecture)) if draw(st.integers(0, 3)) else {}
    tensors_by_kind = tensors(draw(st.integers(0, 100)))
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([*weights, *PUBLISHED, 0, "0"]) | texts)
        change = draw(st.sampled_from(("drop", "kind", "shape", "value", "prefix", "dtype")))
        current = weights.get(name)
        if change == "drop":
            weights.pop(name, None)
        elif change == "kind":
            weights[name] = tensors_by_kind[draw(st.sampled_from(KINDS))]
        elif change == "shape":
            shape = draw(st.sampled_from(SHAPES))
            weights[name] = torch.zeros(()).expand(shape) if draw(st.booleans()) else torch.zeros(shape[:1])
        elif change == "prefix":
            prefix = draw(st.sampled_from(("module.", "model.", "_orig_mod.", "module." * 40)))
            weights = {f"{prefix}{key}": tensor for key, tensor in weights.items()}
        elif isinstance(current, torch.Tensor) and change == "value":
            weights[name] = torch.full_like(current, draw(st.sampled_from((float("nan"), float("inf"), 1e38, -1.0))))
        elif isinstance(current, torch.Tensor):
            kinds = ("float16", "bfloat16", "float64", "int64", "bool", "complex64", "float8_e5m2")
            weights[name] = current.to(getattr(torch, draw(st.sampled_from(kinds))))
    content: Any = weights
    for _ in range(draw(st.sampled_from((0, 0, 1, 2, 6)))):
        content = [content] if draw(st.integers(0, 3)) == 0 else {draw(st.sampled_from(WRAPPERS)): content, "epoch": 3}
    return content


def _headers(number: int) -> dict[str, bytes]:
    """Return invalid or hostile safetensors files by name."""
    entry = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
    return {
        "one byte": b"{",
        "eight bytes": bytes(8),
        "brace": bytes(8) + b"{",
        "huge": safetensors({}, b"", 2**63),
        "large": safetensors({}, b"", 10**9),
        "terabytes": safetensors({"a": {**entry, "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}, b""),
        "overflow": safetensors({"a": {**entry, "shape": [2**40, 2**40], "data_offsets": [0, 16]}}, bytes(16)),
        "negative": safetensors({"a": {**entry, "shape": [-2, -2]}}, bytes(16)),
        "overlapping": safetensors({"a": entry, "b": entry}, bytes(16)),
        "twice": safetensors(
            b'{"a":' + json.dumps(entry).encode() + b',"a":' + json.dumps(entry).encode() + b"}", bytes(16)
        ),
        "deep": safetensors(b'{"a":' * 20_000, b""),
        "types": safetensors({"a": {**entry, "dtype": ("F99", "C64", "I8", "F8_E4M3", "BOOL")[number % 5]}}, bytes(16)),
        "empty": safetensors({}, b""),
        "metadata": safetensors({"__metadata__": {"x": "y" * 10**6}}, b""),
        "long name": safetensors({"a\n" * 10_000: entry}, bytes(16)),
    }


def _pickles(number: int) -> dict[str, bytes]:
    """Return hostile pickles, and pickles that torch does not write, by name."""
    return {
        "payload": pickle.dumps(Hostile()),
        "old payload": pickle.dumps({"state_dict": Hostile()}, protocol=0),
        "payload in a list": pickle.dumps([torch.zeros(2), Hostile()], protocol=2),
        "system": b"cos\nsystem\n(S'mkdir ran'\ntR.",
        "eval": b'c__builtin__\neval\n(S\'__import__("os").mkdir("ran")\'\ntR.',
        "large array": b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\0\0\0\0\x10\x85R.",
        "deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "memo": b"\x80\x02]q\0h\0a.",
        "stop": b".",
        "ops": b"\x80\x02" + bytes([number % 256]) * 50 + b".",
        "tar": b"\0" * 257 + b"ustar" + bytes(700),
    }


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a file of weights and a network."""
    architecture = draw(st.sampled_from(NETWORKS))
    number = draw(st.integers(0, 1000))
    suffix = draw(st.sampled_from((".pt", ".pth", ".safetensors", ".bin", "")))
    parameters: dict[str, Any] = {}
    if draw(st.booleans()):
        names = ("auto", "same", "kadkhodaie-cnn", "kadkhodaie-unet", "mohan-dncnn", "kair")
        parameters["keys"] = draw(st.sampled_from(names))
    reader = draw(st.sampled_from(("denoise", "denoise", "denoise", "sample", "inspect")))
    kinds = ("state",) * 7 + ("safetensors", "header", "header", "pickle", "pickle", "script", "special")
    kind = draw(st.sampled_from(kinds))
    if kind == "special":
        return Case(suffix, draw(st.sampled_from(SPECIAL)), architecture, reader, parameters)
    if kind in ("header", "pickle"):
        files = _headers(number) if kind == "header" else _pickles(number)
        content = files[draw(st.sampled_from(sorted(files)))]
    elif kind == "script":
        content = script()
    elif kind == "safetensors":
        drawn = draw(states(architecture))
        weights = drawn if isinstance(drawn, dict) else {}
        try:
            content = save({str(name): value for name, value in weights.items() if isinstance(value, torch.Tensor)})
        except Exception:
            content = b""
    else:
        content = pt(draw(states(architecture)), draw(st.booleans()))
        content = recompress(content) if draw(st.integers(0, 9)) == 0 else content
    return Case(suffix, damage_bytes(content, draw(st.sampled_from(DAMAGES)), number), architecture, reader, parameters)


def script() -> bytes:
    """Return a TorchScript program, which torch would run when it loads the file."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 8, 8)), buffer)
    return buffer.getvalue()


def load_everything() -> None:
    """Load valid weights once, so that all modules are imported."""
    with tempfile.TemporaryDirectory() as folder:
        for reader in ("denoise", "sample", "inspect"):
            attempt(Case(".pt", pt(state("linear"), True), "linear", reader), Path(folder))


CAMPAIGN = Campaign(cases(), attempt, prepare=load_everything)
