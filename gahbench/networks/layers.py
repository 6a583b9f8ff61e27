"""Layers of networks: how to list them, and how to get the output of a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gahbench._util.errors import ParameterError, listing, suggestion

#: Maximum number of names in an error message.
_MAX_NAMES = 30


class Layer(NamedTuple):
    """A module of a network whose output has shape (N, C, H, W).

    Parameters
    ----------
    name
        Name of the module in ``network.named_modules()``.
    channels
        Number of channels C of the output.
    pixels
        Number of pixels H * W of the output.
    """

    name: str
    channels: int
    pixels: int


def feature_layers(network: nn.Module, noisy: Tensor, sigma: Tensor) -> list[Layer]:
    """Return the modules without children whose output has shape (N, C, H, W), in the order of the forward pass.

    Parameters
    ----------
    network
        A network; its ``forward(noisy, sigma)`` is called once.
    noisy
        Noisy images, shape (N, C, H, W).
    sigma
        Noise levels, shape (N,).

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

    def record(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            layers.setdefault(name, Layer(name, output.shape[1], output.shape[2] * output.shape[3]))

    modules = {name: module for name, module in network.named_modules() if not any(module.children())}
    _run(network, noisy, sigma, modules, record)
    return [*layers.values()]


def _run(
    network: nn.Module, noisy: Tensor, sigma: Tensor, modules: dict[str, nn.Module], record: Callable[[str, Any], None]
) -> None:
    """Run a network, and call ``record`` with the name and output of some of its modules at each of their calls."""
    hooks = [
        module.register_forward_hook(lambda module, inputs, output, name=name: record(name, output))
        for name, module in modules.items()
    ]
    try:
        with torch.no_grad():
            network(noisy, sigma)
    finally:
        for hook in hooks:
            hook.remove()


def middle_layer(layers: Sequence[tuple[str, int]]) -> str:
    """Return the middle layer of the layers with the fewest pixels: the bottleneck of a UNet, or the middle of a chain.

    Parameters
    ----------
    layers
        Name and number of pixels of each layer, in the order of the forward pass.

    Raises
    ------
    ParameterError
        If there are no layers.

    Examples
    --------
    >>> middle_layer([("encoder", 256), ("bottleneck", 64), ("decoder", 256)])
    'bottleneck'
    """
    if not layers:
        raise ParameterError(
            "no layer of the network has an output of shape (N, C, H, W); choose a module with 'layer'"
        )
    smallest = min(pixels for _, pixels in layers)
    names = [name for name, pixels in layers if pixels == smallest]
    return names[len(names) // 2]


def layer_output(network: nn.Module, layer: str, noisy: Tensor, sigma: Tensor) -> Tensor:
    """Return the output of a module of a network, from its last call in the forward pass.

    Parameters
    ----------
    network
        A network; its ``forward(noisy, sigma)`` is called once, without gradients.
    layer
        Name of the module in ``network.named_modules()``.
    noisy
        Noisy images, shape (N, C, H, W).
    sigma
        Noise levels, shape (N,).

    Raises
    ------
    ParameterError
        If the module does not exist, is not called, or does not return a tensor.

    Examples
    --------
    >>> import gahbench
    >>> import torch
    >>> network = gahbench.create("architecture", "dncnn", width=4, layers=3)
    >>> images, sigmas = torch.rand(2, 1, 8, 8), torch.ones(2)
    >>> layer = feature_layers(network, images, sigmas)[0].name
    >>> layer_output(network, layer, images, sigmas).shape
    torch.Size([2, 4, 8, 8])
    """
    modules = dict(network.named_modules())
    if layer not in modules or not layer:
        names = [name for name in modules if name]
        accepted = listing(names[:_MAX_NAMES]) + (
            f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        )
        raise ParameterError(
            f"the network has no layer '{layer}'{suggestion(layer, names) or ';'} accepted: {accepted}"
        )
    outputs: list[Any] = []
    _run(network, noisy, sigma, {layer: modules[layer]}, lambda name, output: outputs.append(output))
    if not outputs or not isinstance(outputs[-1], Tensor):
        kind = None if not outputs else type(outputs[-1]).__name__
        problem = "is not called in the forward pass" if kind is None else f"returns {kind}, not a tensor"
        raise ParameterError(f"layer '{layer}' {problem}; accepted: layers with features (N, C, H, W)")
    output: Tensor = outputs[-1]
    return output
