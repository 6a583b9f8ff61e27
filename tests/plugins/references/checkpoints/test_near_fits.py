"""Suggestions of parameters with which weights fit."""

import pytest
import torch

import gahbench
from gahbench._util.errors import ParameterError
from gahbench_plugins.references._checkpoints import near_fits


def pretrained(tmp_path, architecture):
    file = str(tmp_path / "weights.pt")
    return gahbench.create("reference", "pretrained", architecture=architecture, checkpoint=file)


def message(tmp_path, architecture, state):
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ParameterError) as error:
        pretrained(tmp_path, architecture).check_shape((1, 16, 16))
    return str(error.value)


def weights(architecture, **parameters):
    return gahbench.create("architecture", architecture, **parameters).state_dict()


def chain_with_merged_normalisations(layers, width, channels=1, bias=True):
    """Return a chain whose normalisations are merged into its convolutions, as KAIR names it."""
    sizes = [channels, *[width] * (layers - 1), channels]
    state = {f"model.{2 * index}.weight": torch.zeros(*sizes[index : index + 2][::-1], 3, 3) for index in range(layers)}
    return state | {f"model.{2 * index}.bias": torch.zeros(sizes[index + 1]) for index in range(layers if bias else 0)}


def mohan(layers, width):
    """Return a bias-free chain, as Mohan et al. name it."""
    state = {"first_layer.weight": torch.zeros(width, 1, 3, 3), "last_layer.weight": torch.zeros(1, width, 3, 3)}
    for number in range(layers - 2):
        state[f"hidden_layer_list.{number}.weight"] = torch.zeros(width, width, 3, 3)
        names = ("weight", "bias", "running_mean", "running_var")
        state |= {f"bn_layer_list.{number}.{name}": torch.ones(width) for name in names}
    return state


CASES = [
    ("dncnn[layers=5]", chain_with_merged_normalisations(4, 6), "dncnn[width=6,layers=4,norm=false]"),
    (
        "dncnn[width=6,layers=4]",
        chain_with_merged_normalisations(4, 6, bias=False),
        "dncnn[width=6,layers=4,bias=false,norm=false]",
    ),
    (
        "dncnn[width=6,layers=4]",
        chain_with_merged_normalisations(5, 7, 3),
        "dncnn[width=7,layers=5,norm=false], for images of 3 channels",
    ),
    ("bf-cnn[width=6,layers=4]", mohan(6, 8), "bf-cnn[width=8,layers=6]"),
    ("dncnn[width=6,layers=5]", mohan(5, 6), "dncnn[width=6,layers=5,bias=false]"),
    ("dncnn[width=6]", weights("dncnn", width=6, layers=5, blind=False), "dncnn[width=6,layers=5,blind=false]"),
    ("unet[width=4,levels=2]", weights("unet", width=6, levels=1), "unet[width=6,levels=1]"),
    ("mohan-rcnn[width=4,bias=true]", weights("mohan-rcnn", width=6), "mohan-rcnn[width=6,bias=false]"),
    ("ircnn[width=4]", weights("ircnn", width=4, levels=3), "ircnn[width=4,levels=3]"),
]


@pytest.mark.parametrize(("given", "state", "fits"), CASES, ids=[fits for *_, fits in CASES])
def test_the_parameters_that_fit_are_named(tmp_path, given, state, fits):
    result = message(tmp_path, given, state)
    assert result.startswith("checkpoint weights.pt for ")
    assert result.endswith(f"; it fits {fits}")
    # The suggested parameters are accepted.
    architecture, *channels = fits.split(", for images of ")
    pretrained(tmp_path, architecture).check_shape((3 if channels else 1, 16, 16))


@pytest.mark.parametrize(("given", "state"), [
    ("dncnn[width=6,layers=4]", weights("mohan-rcnn", width=6)),
    ("bf-cnn-rf[width=6,layers=4]", {"weight": torch.zeros(3)}),
    ("mlp[width=8]", chain_with_merged_normalisations(3, 4)),
    # Names and shapes are correct, but values are not.
    ("dncnn[width=6,layers=4]", weights("dncnn", width=6, layers=4) | {"layers.0.bias": torch.full((6,), torch.nan)}),
])  # fmt: skip
def test_there_is_no_suggestion_if_no_parameters_fit(tmp_path, given, state):
    assert "it fits" not in message(tmp_path, given, state)


def test_the_search_for_a_root_ends(monkeypatch):
    """The number of built networks is limited for weights of many sizes and networks of many parameters."""
    monkeypatch.setattr(near_fits, "MAX_BUILDS", 12)
    state = {f"blocks.{index}.weight": torch.zeros(index + 2, 3 * index + 5) for index in range(40)}
    factory = gahbench.create("reference", "untrained[bf-cnn]").architecture
    search = near_fits._Search(state, factory, (1, 16, 16))
    search.nearest(near_fits._Candidate((), 1))
    assert search.builds == 12
