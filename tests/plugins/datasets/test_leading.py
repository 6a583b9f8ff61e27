import pytest
import torch

from gahbench_plugins.datasets._conditional import Leading

PIXELS, RANK, CONSTANT = 40, 7, 0.3


@pytest.fixture
def leading():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.linalg.qr(torch.randn(PIXELS, RANK, dtype=torch.float64, generator=generator))[0]
    return Leading(torch.rand(RANK, dtype=torch.float64, generator=generator) + 0.1, vectors, CONSTANT)


MASKS = {
    "mixed everywhere": torch.rand(PIXELS, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    "mixed at a contour": (torch.arange(PIXELS, dtype=torch.float64) / 4 - 4).clamp(0, 1),
    "one region": torch.ones(PIXELS, dtype=torch.float64),
    "the other": torch.zeros(PIXELS, dtype=torch.float64),
}


def columns(leading, mask):
    """The factor F, column by column."""
    inside = [mask * column for column in leading.scaled.T] + [(1 - mask) * column for column in leading.scaled.T]
    return torch.stack([*inside, CONSTANT**0.5 * mask, CONSTANT**0.5 * (1 - mask)], dim=1)


@pytest.mark.parametrize("name", MASKS)
def test_it_is_the_product_of_its_factor(leading, name):
    mask, factor = MASKS[name], columns(leading, MASKS[name])
    assert factor.shape == (PIXELS, leading.columns)
    torch.testing.assert_close(leading.gram(mask), factor.T @ factor, atol=1e-12, rtol=0)
    # What it stands for, written out with the covariance of a background.
    background = leading.scaled @ leading.scaled.T + CONSTANT
    inside, outside = torch.diag(mask), torch.diag(1 - mask)
    expected = inside @ background @ inside + outside @ background @ outside
    torch.testing.assert_close(factor @ factor.T, expected, atol=1e-12, rtol=0)
    eye = torch.eye(leading.columns, dtype=torch.float64)
    torch.testing.assert_close(leading.synthesis(mask[None], eye), factor.T)
    torch.testing.assert_close(leading.analysis(mask[None], torch.eye(PIXELS, dtype=torch.float64)), factor)


def test_each_image_has_its_mask(leading):
    masks = torch.stack(list(MASKS.values()))
    images = torch.randn(len(masks), PIXELS, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    parts = torch.stack([columns(leading, mask).T @ image for mask, image in zip(masks, images, strict=True)])
    torch.testing.assert_close(leading.analysis(masks, images), parts)
    expected = torch.stack([columns(leading, mask) @ part for mask, part in zip(masks, parts, strict=True)])
    torch.testing.assert_close(leading.synthesis(masks, parts), expected)
