"""A network for each noise level, as one entrant."""

import pytest
import torch
from safetensors.torch import save_file

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


def test_the_network_of_the_nearest_level_denoises_and_other_levels_are_noted(files):
    reference = by_level([files[index] for index in (2, 0, 1)], [LEVELS[index] for index in (2, 0, 1)])
    for level, index in ((15, 0), (25, 1), (50, 2), (1, 0), (19.9, 0), (20, 0), (20.1, 1), (37.6, 2), (200, 2)):
        expected = denoise_alone(files[index], NOISY, level / 255)
        torch.testing.assert_close(reference.denoise(NOISY, level / 255, BLIND), expected, rtol=0, atol=0)
        # Notes name the other levels so far.
        assert any("nearest" in note for note in reference.notes) == (level not in LEVELS)
        assert level in LEVELS or any(f"{level:g} of 255" in note or f"{level:g}," in note for note in reference.notes)
    count = sum(parameter.numel() for parameter in network().parameters())
    assert reference.num_parameters == 3 * count


def test_repeated_levels_and_oracles_are_refused(files):
    for levels in ((15, 25), (15, 25, 25)):
        with pytest.raises(gahbench.ParameterError, match="levels="):
            by_level(files, levels)
    with pytest.raises(gahbench.ParameterError, match="references=oracle-threshold"):
        gahbench.create("reference", "by-level", references=["oracle-threshold"], levels=[15])


def test_the_kind_is_classical_if_all_references_are(files):
    tuned = ["tv[weight=0.05]", "tv[weight=0.2]"]
    reference = gahbench.create("reference", "by-level", references=tuned, levels=[15, 50])
    assert reference.kind == "classical"
    assert reference.num_parameters is None
    alone = gahbench.create("reference", tuned[1]).denoise(NOISY, 50 / 255, BLIND)
    torch.testing.assert_close(reference.denoise(NOISY, 50 / 255, BLIND), alone, rtol=0, atol=0)
    mixed = gahbench.create("reference", "by-level", references=[tuned[0], spec(files[0])], levels=[15, 50])
    assert mixed.kind == by_level(files).kind == "trained"
