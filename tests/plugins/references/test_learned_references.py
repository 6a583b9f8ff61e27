"""What is refused by all references that are made of training images."""

import pytest
import torch
from learned_references import fitted, random

import gahbench
from gahbench import DataError, Truth

NAMES = ["empirical-bayes", "local-score[3]", "pspc[3]", "pca-locality", "wiener-linear"]


@pytest.mark.parametrize("name", NAMES)
def test_errors_say_what_to_do(name):
    images = random(3, 1, 4, 5)
    with pytest.raises(DataError, match=r"call fit\(examples\) first"):
        gahbench.create("reference", name).denoise(images, 0.1, Truth(images))
    other = torch.zeros(1, 1, 6, 5)
    with pytest.raises(DataError, match=r"was fitted to images of .* and cannot denoise images of"):
        fitted(name, images).denoise(other, 0.1, Truth(other))
    with pytest.raises(DataError, match="no train images"):
        fitted(name, images[:0])


@pytest.mark.parametrize("name", ["pca-locality", "wiener-linear"])
def test_images_that_are_too_large_for_a_covariance_are_refused(name):
    gahbench.create("reference", name).check_shape((1, 64, 64))
    for refuse in (gahbench.create("reference", name).check_shape, lambda shape: fitted(name, torch.zeros(2, *shape))):
        with pytest.raises(ValueError, match="accepted are up to 4096"):
            refuse((1, 65, 65))
