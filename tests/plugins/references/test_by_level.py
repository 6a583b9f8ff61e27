"""A network for each noise level, as one entrant."""

import pytest
import torch
from isolation import real_data
from safetensors.torch import save_file
from torch.nn import functional

import gahbench
from gahbench.contracts.truth import Truth

LEVELS = (15, 25, 50)
NOISY = torch.rand(3, 1, 12, 10, generator=torch.Generator().manual_seed(0))
BLIND = Truth(torch.full_like(NOISY, torch.nan))


def network(level=0):
    torch.manual_seed(level)
    result = gahbench.create("architecture", "bf-cnn", channels=1, width=4, layers=3).eval()
    for parameter in result.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return result


@pytest.fixture
def files(tmp_path):
    """Write the weights of a network for each level."""
    paths = []
    for level in LEVELS:
        paths.append(str(tmp_path / f"{level}.safetensors"))
        save_file(network(level).state_dict(), paths[-1])
    return paths


def spec(file):
    return f"pretrained['bf-cnn[width=4,layers=3]',checkpoint={file}]"


def by_level(files, levels=LEVELS):
    return gahbench.create("reference", "by-level", references=[spec(file) for file in files], levels=list(levels))


def denoise_alone(file, noisy, sigma):
    return gahbench.create("reference", spec(file)).denoise(noisy, sigma, BLIND)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_every_level_has_its_network_in_any_order(files, order):
    reference = by_level([files[index] for index in order], [LEVELS[index] for index in order])
    for level, file in zip(LEVELS, files, strict=True):
        torch.testing.assert_close(
            reference.denoise(NOISY, level / 255, BLIND), denoise_alone(file, NOISY, level / 255), rtol=0, atol=0
        )
    assert not any("nearest" in note for note in reference.notes)


@pytest.mark.parametrize(("level", "index"), [(1, 0), (19.9, 0), (20, 0), (20.1, 1), (37.6, 2), (200, 2)])
def test_other_levels_have_the_nearest_network_and_a_note(files, level, index):
    reference = by_level(files)
    expected = denoise_alone(files[index], NOISY, level / 255)
    torch.testing.assert_close(reference.denoise(NOISY, level / 255, BLIND), expected, rtol=0, atol=0)
    assert f"denoised by the reference for the nearest noise level at {level:g} of 255" in reference.notes


def test_as_a_network_each_image_has_the_network_of_its_own_level(files):
    reference = by_level(files)
    sigmas = torch.tensor([50.0, 15.0, 27.0]) / 255
    images = reference.as_network(tuple(NOISY.shape[1:]))(NOISY, sigmas)
    for image, noisy, sigma in zip(images, NOISY, sigmas.tolist(), strict=True):
        torch.testing.assert_close(image[None], reference.denoise(noisy[None], sigma, BLIND))


def test_jacobians_are_those_of_the_network_of_the_level(files):
    jacobians = by_level(files).jacobian(NOISY, 25 / 255, BLIND)
    alone = gahbench.create("reference", spec(files[1])).jacobian(NOISY, 25 / 255, BLIND)
    torch.testing.assert_close(jacobians.matrices(), alone.matrices())


def test_parameters_of_all_networks_that_were_used_are_counted(files):
    reference = by_level(files)
    assert reference.num_parameters is None
    for level in LEVELS:
        reference.denoise(NOISY, level / 255, BLIND)
    count = sum(parameter.numel() for parameter in network().parameters())
    assert reference.num_parameters == 3 * count


@pytest.mark.parametrize("levels", [(15, 25), (15, 25, 25)])
def test_every_reference_needs_a_level_of_its_own(files, levels):
    with pytest.raises(gahbench.ParameterError, match=r"levels=.* for 3 references; accepted: a different level"):
        by_level(files, levels)


def test_oracles_are_refused():
    with pytest.raises(gahbench.ParameterError, match=r"'oracle-thr.*' is of kind 'oracle'; accepted: .* 'classical'"):
        gahbench.create("reference", "by-level", references=["oracle-threshold"], levels=[15])


def test_the_kind_is_classical_if_all_references_are(files):
    tuned = ["tv[weight=0.05]", "tv[weight=0.2]"]
    reference = gahbench.create("reference", "by-level", references=tuned, levels=[15, 50])
    assert reference.kind == "classical"
    assert reference.as_network((1, 12, 10)) is None
    assert reference.num_parameters is None
    alone = gahbench.create("reference", tuned[1]).denoise(NOISY, 50 / 255, BLIND)
    torch.testing.assert_close(reference.denoise(NOISY, 50 / 255, BLIND), alone, rtol=0, atol=0)
    mixed = gahbench.create("reference", "by-level", references=[tuned[0], spec(files[0])], levels=[15, 50])
    assert mixed.kind == by_level(files).kind == "trained"


def chain(state, images):
    """Return a chain of convolutions with ReLU between them, as published, from the tensors of a file."""
    count = len(state) // 2
    for number in range(count):
        images = functional.conv2d(
            images, state[f"model.{2 * number}.weight"], state[f"model.{2 * number}.bias"], padding=1
        )
        images = images.relu() if number < count - 1 else images
    return images


@pytest.mark.parametrize(("names", "architecture", "channels"), [
    (("dncnn_15", "kair_dncnn_25", "dncnn_50"), "dncnn[layers=17,norm=false]", 1),
    (("cdncnn_15", "cdncnn_25", "cdncnn_50"), "dncnn[norm=false]", 3),
])  # fmt: skip
def test_published_networks_are_the_chains_of_convolutions_in_their_files(names, architecture, channels):
    paths = [real_data() / "weights" / f"{name}.pth" for name in names]
    if not all(path.exists() for path in paths):
        pytest.skip("needs the files of published weights")
    references = [f"pretrained['{architecture}',checkpoint={path}]" for path in paths]
    reference = gahbench.create("reference", "by-level", references=references, levels=list(LEVELS))
    noisy = torch.rand(1, channels, 13, 16, generator=torch.Generator().manual_seed(1))
    for level, path in zip(LEVELS, paths, strict=True):
        expected = noisy - chain(torch.load(path, weights_only=True), noisy)
        torch.testing.assert_close(reference.denoise(noisy, level / 255, BLIND), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "architecture", "channels"), [
    ("ffdnet_gray", "ffdnet[norm=false]", 1), ("ffdnet_color", "ffdnet[width=96,layers=12,norm=false]", 3),
])  # fmt: skip
def test_published_ffdnet_is_a_chain_on_cells_of_pixels_and_a_map_of_the_noise_level(name, architecture, channels):
    path = real_data() / "weights" / f"{name}.pth"
    if not path.exists():
        pytest.skip("needs the files of published weights")
    reference = gahbench.create("reference", f"pretrained['{architecture}',checkpoint={path}]")
    noisy = torch.rand(2, channels, 14, 16, generator=torch.Generator().manual_seed(2))
    cells = torch.stack([noisy[:, c, i::2, j::2] for c in range(channels) for i in (0, 1) for j in (0, 1)], 1)
    denoised = chain(torch.load(path, weights_only=True), torch.cat([cells, torch.full_like(cells[:, :1], 0.1)], 1))
    expected = torch.empty_like(noisy)
    for number, (c, i, j) in enumerate((c, i, j) for c in range(channels) for i in (0, 1) for j in (0, 1)):
        expected[:, c, i::2, j::2] = denoised[:, number]
    torch.testing.assert_close(reference.denoise(noisy, 0.1, BLIND), expected, rtol=0, atol=1e-5)
