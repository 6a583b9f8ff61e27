"""Outputs of a network's layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gahbench._util.errors import ParameterError, listing, suggestion

#: Maximum of names that an error lists.
_LISTED = 30


class Layer(NamedTuple):
    """A module of a network that puts out features of shape (N, C, H, W).

    Parameters
    ----------
    name
        As ``network.named_modules()`` has it.
    channels
        Number of channels C of its output.
    pixels
        Number of pixels H * W of its output.
    """

    name: str
    channels: int
    pixels: int


def feature_layers(network: nn.Module, noisy: Tensor, sigma: Tensor) -> list[Layer]:
    """Return the modules without children whose output is (N, C, H, W), in the order of the forward pass.

    Parameters
    ----------
    network
        Its ``forward(noisy, sigma)`` is called once.
    noisy, sigma
        Shapes (N, C, H, W) and (N,).

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> network = gahbench.create("architecture", "dncnn", width=4, layers=4).eval()
    >>> layers = feature_layers(network, torch.rand(1, 1, 8, 8), torch.ones(1))
    >>> layers[0].channels, layers[0].pixels
    (4, 64)
    """
    layers: dict[str, Layer] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            layers.setdefault(name, Layer(name, output.shape[1], output.shape[2] * output.shape[3]))

    modules = {name: module for name, module in network.named_modules() if not any(module.children())}
    _run(network, noisy, sigma, modules, note)
    return [*layers.values()]


def _run(
    network: nn.Module, noisy: Tensor, sigma: Tensor, modules: dict[str, nn.Module], note: Callable[[str, Any], None]
) -> None:
    """Call a network, and ``note`` with the name and the output of each call of some of its modules."""
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: note(name, output))
        for name, module in modules.items()
    ]
    try:
        with torch.no_grad():
            network(noisy, sigma)
    finally:
        for hook in hooks:
            hook.remove()


def middle_layer(layers: Sequence[tuple[str, int]]) -> str:
    """Return the middle one of the layers with the smallest pixels: the bottleneck of a UNet, the middle of a chain.

    Parameters
    ----------
    layers
        Names and numbers of pixels, in the order of the forward pass.

    Raises
    ------
    ParameterError
        If there are none.
    """
    if not layers:
        raise ParameterError("no layer of the network puts out features of shape (N, C, H, W); name one with 'layer'")
    smallest = min(pixels for _, pixels in layers)
    names = [name for name, pixels in layers if pixels == smallest]
    return names[len(names) // 2]


def layer_output(network: nn.Module, layer: str, noisy: Tensor, sigma: Tensor) -> Tensor:
    """Return the output of a module of a network; of the last call, if there are several.

    Parameters
    ----------
    network
        Its ``forward(noisy, sigma)`` is called once, without gradients.
    layer
        Name of the module, as ``network.named_modules()`` has it.
    noisy, sigma
        Shapes (N, C, H, W) and (N,).

    Raises
    ------
    ParameterError
        If there is no such module, it was not called, or puts out no tensor.
    """
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        names = [name for name in modules if name]
        shown = listing(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
        raise ParameterError(f"the network has no layer '{layer}'{suggestion(layer, names) or ';'} accepted: {shown}")
    kept: list[Any] = []
    _run(network, noisy, sigma, {layer: modules[layer]}, lambda name, output: kept.append(output))
    if not kept or not isinstance(kept[-1], Tensor):
        what = "is not called in the forward pass" if not kept else f"puts out {type(kept[-1]).__name__}, not a tensor"
        raise ParameterError(f"layer '{layer}' {what}; accepted are layers with features (N, C, H, W)")
    output: Tensor = kept[-1]
    return output
