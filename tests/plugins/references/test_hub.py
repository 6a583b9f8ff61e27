"""Weights of the Hugging Face hub, in a cache written by the tests, and downloaded only by ``prepare``."""

import shutil

import pytest
import torch
from safetensors.torch import save_file
from small_plugins import save_ddpm

import gahbench
from gahbench import ParameterError
from gahbench.planning.suite import load_suite
from gahbench.registry.registry import Registry
from gahbench.runs.preparation import prepare

COMMIT = "0123456789abcdef" * 2 + "01234567"
NETWORK = "bf-cnn[width=4,layers=3]"
SUITE = """
name: hub
datasets: [{{discs: {{size: 8}}}}]
entrants: [{entrant}]
scoring: {{sigmas: [0.1], images: 2, metrics: [psnr]}}
"""

pytestmark = pytest.mark.extras("huggingface_hub")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the hub, and no network."""
    folder = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    return folder


def snapshot(cache, repo="someone/denoiser"):
    """The folder of a commit in the layout of the cache of the hub."""
    folder = cache / f"models--{repo.replace('/', '--')}" / "snapshots" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_weights(cache):
    torch.manual_seed(0)
    network = gahbench.create("architecture", "bf-cnn", channels=1, width=4, layers=3)
    save_file(network.state_dict(), snapshot(cache) / "weights.safetensors")
    return network.eval()


def create_reference(**parameters):
    given = {"repo": "someone/denoiser", "revision": COMMIT, **parameters}
    return gahbench.create("reference", "hf", **given)


def from_file(**parameters):
    return create_reference(file="weights.safetensors", architecture=NETWORK, **parameters)


def test_weights_of_an_architecture_are_scored_as_they_are(cache):
    network = save_weights(cache)
    reference = from_file()
    assert reference.missing() == ()
    reference.prepare()
    reference.check_shape((1, 8, 8))
    noisy = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        expected = network(noisy, torch.full((2,), 0.1))
    torch.testing.assert_close(reference.denoise(noisy, 0.1, gahbench.Truth(noisy)), expected)
    assert reference.notes[0] == "someone/denoiser of the Hugging Face hub, commit 0123456789ab"
    assert reference.num_parameters == sum(parameter.numel() for parameter in network.parameters())
    assert reference.jacobian(noisy, 0.1, gahbench.Truth(noisy)) is not None


@pytest.mark.extras("diffusers")
@pytest.mark.parametrize("is_flat", [False, True])
def test_a_diffusion_model_of_the_hub_equals_the_reference_diffusers(cache, is_flat):
    folder = save_ddpm(snapshot(cache))
    if is_flat:
        for part in ("unet", "scheduler"):
            shutil.copytree(folder / part, folder, dirs_exist_ok=True)
            shutil.rmtree(folder / part)
    reference, own = create_reference(), gahbench.create("reference", "diffusers", path=str(folder))
    assert reference.missing() == ()
    reference.check_shape((1, 8, 8))
    noisy = torch.rand(2, 1, 8, 8)
    truth = gahbench.Truth(noisy)
    assert torch.equal(reference.denoise(noisy, 0.1, truth), own.denoise(noisy, 0.1, truth))
    assert reference.notes[1:] == own.notes
    assert reference.as_network((1, 8, 8)) is not None


def test_only_prepare_downloads_weights(cache, tmp_path, monkeypatch):
    entrant = f"'hf[someone/denoiser,revision={COMMIT},file=weights.safetensors,architecture={NETWORK}]'"
    file = tmp_path / "hub.yaml"
    file.write_text(SUITE.format(entrant=entrant))
    calls = []

    def download(repo, name, revision):
        calls.append((repo, name, revision))
        save_weights(cache)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ParameterError, match="not in the hub's cache"):
        from_file().check_shape((1, 8, 8))
    assert not calls
    suite = load_suite(file, Registry())
    (prepared,) = [outcome for outcome in prepare(suite) if "hf" in outcome.plugin]
    assert prepared.error is None
    assert calls == [("someone/denoiser", "weights.safetensors", COMMIT)]
    assert all(outcome.fetched == () for outcome in prepare(suite))
    assert len(calls) == 1


def test_a_revision_name_is_refused_and_prepare_reports_its_commit(cache, monkeypatch):
    save_weights(cache)
    named = from_file(revision="main")
    with pytest.raises(ParameterError, match=r"revision=main: .* accepted: a commit"):
        named.check_shape((1, 8, 8))
    result = type("Info", (), {"sha": COMMIT})
    monkeypatch.setattr("huggingface_hub.model_info", lambda repo, revision: result)
    with pytest.raises(ParameterError, match=f"write revision={COMMIT}"):
        named.prepare()


def test_weights_that_cannot_be_downloaded_and_wrong_names_are_refused(cache):
    with pytest.raises(ParameterError, match="cannot be downloaded"):
        from_file().prepare()
    for parameters in ({"file": "weights.safetensors"}, {"repo": "../../denoiser"}):
        with pytest.raises(gahbench.GahbenchError, match="hf"):
            create_reference(**parameters)
