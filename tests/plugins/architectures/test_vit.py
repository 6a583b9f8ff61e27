import pytest
import torch
from given_networks import build, images

from gahbench_plugins.architectures._tokens import Patches, TokenAttention
from gahbench_plugins.architectures.vit import ViT

SMALL = {"width": 16, "depth": 2, "heads": 2}


def test_patches_that_are_kept_as_they_are_give_the_image_back():
    """Tokens that hold the pixels of their patches: embedding and restoring are inverse to each other."""
    patches = Patches("vit", (3, 8, 12), patch=2, width=12, positions="sincos")
    with torch.no_grad():
        patches.embed.weight.copy_(torch.eye(12).view(12, 3, 2, 2))
        patches.embed.bias.zero_()
        patches.restore.weight.copy_(torch.eye(12))
        patches.places.zero_()
    given = images(2, (3, 8, 12))
    assert torch.equal(patches.images(patches.tokens(given)), given)


def test_every_position_has_an_embedding_of_its_own():
    for positions in ("sincos", "learned"):
        places = Patches("vit", (1, 16, 24), patch=4, width=16, positions=positions).places[0]
        distances = torch.cdist(places, places) + 10 * torch.eye(len(places))
        assert distances.min() > 1e-3


@pytest.mark.parametrize(("grid", "shifted"), [((8, 8), False), ((8, 8), True), ((4, 12), True)])
def test_windows_are_attention_among_all_that_is_masked(grid, shifted):
    torch.manual_seed(0)
    width, heads, window = 12, 3, 4
    local = TokenAttention(width, heads, grid, window, shifted).eval()
    torch.nn.init.zeros_(local.inner.relative_position_bias_table)
    tokens = torch.randn(2, grid[0] * grid[1], width)
    query, key, value = local.inner.qkv(tokens).view(2, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    # A window is not shifted along a side that it covers.
    starts = [window // 2 if shifted and side > window else 0 for side in grid]
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij")
    label = 100 * ((rows - starts[0]).div(window, rounding_mode="floor")) + (columns - starts[1]).div(
        window, rounding_mode="floor"
    )
    together = label.flatten()[:, None] == label.flatten()[None, :]
    scores = (query @ key.transpose(-2, -1)) / (width // heads) ** 0.5
    attended = scores.masked_fill(~together, float("-inf")).softmax(-1) @ value
    expected = local.inner.proj(attended.transpose(1, 2).flatten(2))
    assert torch.allclose(local(tokens), expected, atol=1e-6)


def test_the_kernel_of_training_gives_what_evaluation_gives():
    network = build(ViT, (1, 16, 16), **SMALL)
    noisy, sigma = images(2, (1, 16, 16)), torch.full((2,), 0.1)
    trained, evaluated = network.train()(noisy, sigma), network.eval()(noisy, sigma)
    assert (trained - evaluated).norm() < 1e-5 * evaluated.norm()


def test_what_does_not_fit_is_refused_with_what_does():
    def call(shape, size, **options):
        return build(ViT, shape, **SMALL, **options)(torch.zeros(1, 1, *size), torch.ones(1))

    with pytest.raises(ValueError, match="multiples of 4, not 18x16"):
        call((1, 18, 16), (18, 16))
    with pytest.raises(ValueError, match="built for images of 1x16x16"):
        call((1, 16, 16), (16, 32))
    with pytest.raises(ValueError, match="multiples of 3; images of this size have 4x4 patches"):
        call((1, 16, 16), (16, 16), window=3)
    with pytest.raises(ValueError, match="heads=3 must divide width=16"):
        ViT((1, 16, 16), width=16, heads=3)
    with pytest.raises(ValueError, match="multiple of 4"):
        ViT((1, 16, 16), width=18, heads=2)
