import pytest
import torch
from given_networks import build, images
from torch.nn import functional

from gahbench_plugins.architectures.ffdnet import FFDNet


def test_it_moves_with_the_image_by_whole_cells():
    network = build(FFDNet, (1, 32, 32), width=12, layers=3)
    noisy, level = images(1, (1, 32, 32)), torch.tensor([0.2])
    inside = (..., slice(10, -10), slice(10, -10))
    with torch.no_grad():
        denoised = network(noisy, level)
        by_cell = network(noisy.roll((2, -2), (2, 3)), level).roll((-2, 2), (2, 3))
        by_pixel = network(noisy.roll((1, -1), (2, 3)), level).roll((-1, 1), (2, 3))
    assert torch.allclose(by_cell[inside], denoised[inside], atol=1e-5)
    assert not torch.allclose(by_pixel[inside], denoised[inside], atol=1e-2)


@pytest.mark.parametrize(("height", "width"), [(15, 16), (16, 15), (15, 15)])
def test_an_odd_side_is_extended_by_its_last_pixels(height, width):
    network = build(FFDNet, (3, 16, 16), width=12, layers=4)
    odd, level = images(1, (3, height, width)), torch.tensor([0.1])
    even = torch.cat([odd, odd[:, :, -1:]], dim=2)[:, :, :16]
    even = torch.cat([even, even[..., -1:]], dim=3)[..., :16]
    with torch.no_grad():
        assert torch.equal(network(odd, level), network(even, level)[..., :height, :width])


def test_the_map_of_the_noise_level_is_at_half_the_resolution():
    """With two layers and no normalisation the formula is short."""
    network = build(FFDNet, (1, 6, 6), width=5, layers=2)
    state = network.state_dict()
    noisy = images(1, (1, 6, 6))
    cells = torch.stack([noisy[0, 0, row::2, column::2] for row in (0, 1) for column in (0, 1)])[None]
    conditioned = torch.cat([cells, torch.full((1, 1, 3, 3), 0.3)], dim=1)
    hidden = functional.conv2d(conditioned, state["layers.0.weight"], state["layers.0.bias"], padding=1).relu()
    noise = functional.conv2d(hidden, state["layers.2.weight"], state["layers.2.bias"], padding=1)
    with torch.no_grad():
        found = (noisy - network(noisy, torch.tensor([0.3])))[0, 0]
    for place, (row, column) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        assert torch.allclose(found[row::2, column::2], noise[0, place], atol=1e-5)
