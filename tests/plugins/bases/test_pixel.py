import torch

from gahbench_plugins.bases.pixel import Pixel


def test_coefficients_are_the_pixels():
    batch = torch.rand(2, 3, 5, 4)
    assert torch.equal(Pixel().analysis(batch), batch)
    assert torch.equal(Pixel().synthesis(batch), batch)
    assert Pixel().bands((3, 5, 4)).unique().tolist() == [1]
