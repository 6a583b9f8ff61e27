"""Measured receptive fields agree with computed ones."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from gahbench.networks.receptive_field import ReceptiveField, receptive_field


class Network(nn.Module):
    """A network that applies a function to the noisy image, with some layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)

    def forward(self, noisy, sigma):
        return self.function(self, noisy)


def measure(function, *layers, sides=(64, 128), channels=1, seconds=60.0):
    return receptive_field(lambda shape: Network(function, *layers), channels, sides, seconds)


def chain(network, image):
    for layer in network.layers:
        image = layer(image)
    return image


kernels = st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 7]), st.integers(1, 3))


@settings(max_examples=15, deadline=None)
@given(st.lists(kernels, min_size=1, max_size=4), st.integers(1, 3))
def test_the_field_of_a_chain_of_convolutions_is_the_sum_of_its_kernels(layers, channels):
    chained = [
        nn.Conv2d(channels, channels, (tall, wide), padding=(d * (tall // 2), d * (wide // 2)), dilation=d)
        for tall, wide, d in layers
    ]
    size = tuple(1 + sum(d * (kernel[side] - 1) for *kernel, d in layers) for side in (0, 1))
    field = measure(chain, *chained, channels=channels)
    assert (field.on_grid, field.largest, field.reaches_border) == (size, size, False)


@pytest.mark.parametrize("block", [2, 4, 8])
def test_the_field_of_pooling_is_its_block(block):
    field = measure(
        lambda network, image: functional.interpolate(functional.avg_pool2d(image, block), scale_factor=block)
    )
    assert field.on_grid == field.largest == (block, block)


def test_the_field_may_be_larger_at_pixels_off_the_pooling_grid():
    """A mean of three pixels depends on two blocks of four pixels near the edge of a block, and on one block inside."""

    def blocks_of_a_mean(network, image):
        pooled = functional.avg_pool2d(image, 4)
        return functional.avg_pool2d(functional.interpolate(pooled, scale_factor=4), 3, 1, 1)

    # The middle lies at the first pixel of its block, and so also depends on the previous block.
    assert measure(blocks_of_a_mean).on_grid == (8, 8)

    def shifted(network, image):
        return blocks_of_a_mean(network, image.roll((1, 1), (2, 3))).roll((-2, -2), (2, 3))

    # Shifted by two pixels, the middle depends on one block, and other pixels on two.
    assert (measure(shifted).on_grid, measure(shifted).largest) == ((4, 4), (8, 8))


def test_a_field_that_reaches_the_borders_is_global():
    field = measure(lambda network, image: image - image.mean((2, 3), keepdim=True))
    assert field == ReceptiveField((128, 128), (128, 128), 128, True)
    assert str(field).startswith("global: it reaches the borders of 128x128 images")


def test_larger_images_are_tried_until_the_field_fits():
    mean = nn.AvgPool2d(71, 1, 35)
    assert measure(chain, mean) == ReceptiveField((71, 71), (71, 71), 128, False)
    assert measure(chain, mean, sides=(64,)).reaches_border
    hurried = measure(chain, mean, seconds=0.0)
    assert hurried.ended_early
    assert str(hurried).startswith("at least 64 pixels")


def test_image_sizes_that_the_network_rejects_are_skipped():
    def build(shape):
        if shape[1] < 100:
            raise ValueError("sides of 100 and more")
        return Network(chain, nn.Conv2d(1, 1, 5, padding=2))

    assert receptive_field(build).side == 128
    with pytest.raises(ValueError, match="64x64 pixels: sides of 100"):
        receptive_field(build, sides=(64,))


def test_an_output_that_depends_on_no_pixel_is_an_error():
    with pytest.raises(ValueError, match="no pixel"):
        measure(lambda network, image: 0 * image)
