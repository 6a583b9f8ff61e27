import pytest
import torch
from torch import nn

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.networks.layers import feature_layers, layer_output, middle_layer

NOISY, SIGMA = torch.rand(2, 1, 16, 16), torch.full((2,), 0.1)


class Chain(nn.Module):
    """Three convolutions that multiply images by 2, 3 and 4."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = (nn.Conv2d(1, 1, 1, bias=False) for _ in range(3))
        self.head = nn.Flatten()
        for index, layer in enumerate((self.first, self.second, self.last)):
            nn.init.constant_(layer.weight, 2.0 + index)

    def forward(self, noisy, sigma):
        self.head(noisy)
        return self.last(self.second(self.first(noisy)))


def test_layers_are_listed_in_the_order_of_the_forward_pass():
    layers = feature_layers(Chain(), NOISY, SIGMA)
    assert layers == [("first", 1, 256), ("second", 1, 256), ("last", 1, 256)]
    assert middle_layer([(layer.name, layer.pixels) for layer in layers]) == "second"


def test_layer_output_is_the_output_of_the_module():
    assert torch.allclose(layer_output(Chain(), "second", NOISY, SIGMA), 6 * NOISY)


def test_the_middle_layer_of_a_unet_has_the_fewest_pixels():
    unet = gahbench.create("architecture", "unet", width=4, levels=2)
    layers = {layer.name: layer.pixels for layer in feature_layers(unet, NOISY, SIGMA)}
    assert layers[middle_layer(list(layers.items()))] == 16 * 16 // 16


def test_hooks_are_removed():
    network = Chain()
    feature_layers(network, NOISY, SIGMA)
    layer_output(network, "first", NOISY, SIGMA)
    assert not any(module._forward_hooks for module in network.modules())


def test_errors_list_the_layers():
    with pytest.raises(ParameterError, match=r"no layer 'secnd'; did you mean 'second'\?.*first, second"):
        layer_output(Chain(), "secnd", NOISY, SIGMA)
    network = Chain()
    network.unused = nn.Conv2d(1, 1, 1)
    with pytest.raises(ParameterError, match="'unused' is not called in the forward pass"):
        layer_output(network, "unused", NOISY, SIGMA)
    with pytest.raises(ParameterError, match="no layer of the network has an output"):
        middle_layer([])
