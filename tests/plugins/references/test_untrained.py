import copy

import pytest
import torch
from constructing import construct

import gahbench
from gahbench.contracts.truth import Truth
from gahbench.networks.initialisation import build_network
from gahbench_plugins.references.untrained import Untrained

NETWORK = "bf-cnn[width=6,layers=4]"


def images(count=2, size=8):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0))


def denoised(reference, noisy=None):
    noisy = images() if noisy is None else noisy
    return reference.denoise(noisy, 0.1, Truth(noisy))


@pytest.mark.parametrize("initialisation", ["own", "kaiming"])
def test_it_is_the_network_that_training_starts_from(initialisation):
    network = build_network(lambda: gahbench.create("architecture", NETWORK, shape=(1, 8, 8)), 3, initialisation).eval()
    reference, noisy = construct(Untrained, NETWORK, seed=3, initialisation=initialisation), images()
    with torch.no_grad():
        expected = network(noisy, torch.full((2,), 0.1))
    torch.testing.assert_close(denoised(reference), expected)
    # Row by row, by backward passes.
    found = reference.jacobian(noisy, 0.1, Truth(noisy)).matrices()
    for image, matrix in zip(noisy, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda one: network(one[None], torch.full((1,), 0.1))[0], image)
        torch.testing.assert_close(matrix, jacobian.reshape(64, 64), atol=1e-5, rtol=1e-4)


def test_a_seed_is_always_the_same_network_and_another_seed_another():
    first = denoised(construct(Untrained, NETWORK))
    torch.manual_seed(99)
    assert torch.equal(denoised(construct(Untrained, NETWORK)), first)
    assert not torch.allclose(denoised(construct(Untrained, NETWORK, seed=1)), first, atol=1e-4)
    assert not torch.allclose(denoised(construct(Untrained, NETWORK, initialisation="kaiming")), first, atol=1e-4)


def test_it_denoises_images_of_one_shape_after_another():
    reference = construct(Untrained, "vit[width=8,depth=1,heads=2]")
    for size in (8, 12, 8):
        noisy = images(size=size)
        found = denoised(reference, noisy)
        torch.testing.assert_close(found, denoised(construct(Untrained, "vit[width=8,depth=1,heads=2]"), noisy))
        assert found.shape == noisy.shape


def test_a_copy_is_the_same_network():
    reference, noisy = gahbench.create("reference", f"untrained[{NETWORK}]"), images()
    assert torch.equal(denoised(copy.deepcopy(reference), noisy), denoised(reference, noisy))


def test_sizes_that_the_network_refuses_are_refused():
    reference = construct(Untrained, "unet[width=2,levels=2]")
    reference.check_shape((1, 12, 8))
    with pytest.raises(ValueError, match="multiples of 4, not 10x8"):
        reference.check_shape((1, 10, 8))
