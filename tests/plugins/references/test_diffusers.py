"""Models saved by diffusers: agreement with the model in memory, errors and notes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_plugins import save_ddpm, tiny_unet

import gahbench
from gahbench import ParameterError

pytestmark = pytest.mark.extras("diffusers")
LEVELS = (0.05, 0.2, 0.7)


def create_reference(path, **parameters):
    return gahbench.create("reference", "diffusers", path=str(path), **parameters)


def key(path, **parameters):
    from gahbench.registry.registry import open_registry

    return open_registry(()).configure("reference", "diffusers", path=str(path), **parameters).identity_key


def noisy(count=3):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ddpm(tmp_path_factory):
    return save_ddpm(tmp_path_factory.mktemp("saved") / "ddpm")


@pytest.mark.parametrize(("name", "arguments"), [
    ("DDPMScheduler", {"prediction_type": "sample"}),
    ("DDIMScheduler", {"prediction_type": "v_prediction", "num_train_timesteps": 100}),
    ("EDMEulerScheduler", {"sigma_data": 0.7}),
    ("EDMDPMSolverMultistepScheduler", {"prediction_type": "v_prediction"}),
])  # fmt: skip
def test_a_saved_model_denoises_like_the_model_in_memory(tmp_path, name, arguments):
    import diffusers

    network, scheduler = tiny_unet(), getattr(diffusers, name)(**arguments)
    in_memory = gahbench.as_denoiser(network, scheduler=scheduler)
    network.save_pretrained(tmp_path / "whole" / "unet")
    scheduler.save_pretrained(tmp_path / "whole" / "scheduler")
    # Some models on the hub have this layout.
    network.save_pretrained(tmp_path / "flat")
    scheduler.save_pretrained(tmp_path / "flat")
    for reference in (create_reference(tmp_path / "whole"), create_reference(tmp_path / "flat")):
        reference.check_shape((1, 8, 8))
        for sigma in LEVELS:
            with torch.no_grad():
                expected = in_memory(noisy(), torch.full((3,), sigma))
            torch.testing.assert_close(reference.denoise(noisy(), sigma, gahbench.Truth(noisy())), expected)
        assert reference.num_parameters == sum(parameter.numel() for parameter in network.parameters())
        assert f"with {name}, {scheduler.config.prediction_type}, of images of size 8" in reference.notes[0]


def test_outputs_are_clipped_and_timesteps_interpolated_on_request(ddpm):
    truth = gahbench.Truth(noisy())
    plain, clipped, between = (
        create_reference(ddpm),
        create_reference(ddpm, clip=True),
        create_reference(ddpm, interpolate=True),
    )
    result = plain.denoise(noisy(), 0.3, truth)
    assert float(result.min()) < 0
    torch.testing.assert_close(clipped.denoise(noisy(), 0.3, truth), result.clamp(0, 1))
    other = between.denoise(noisy(), 0.3, truth)
    # The timestep differs by at most half of a step of 1000.
    assert 0 < float((other - result).abs().max()) < 0.01


def test_keys_depend_on_the_content_of_the_files(ddpm, tmp_path):
    other = shutil.copytree(ddpm, tmp_path / "other")
    (other / "README.md").write_text("about")
    assert key(ddpm) == key(other)
    assert key(ddpm) != key(ddpm, clip=True)
    file = other / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace('"epsilon"', '"sample"'))
    assert key(ddpm) != key(other)
    torch.manual_seed(1)
    changed = tiny_unet()
    torch.nn.init.zeros_(changed.conv_out.bias)
    changed.save_pretrained(tmp_path / "third" / "unet")
    shutil.copytree(ddpm / "scheduler", tmp_path / "third" / "scheduler")
    assert key(ddpm) != key(tmp_path / "third")


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def configure(**entries):
    """Return a function that changes the configuration of the network in a folder."""

    def change(folder):
        file = folder / "unet" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | entries))

    return change


def remove_file(name):
    return lambda folder: shutil.rmtree(folder / name)


def remove_first_tensor(folder):
    """Remove the first tensor of the weights."""
    tensors = load_file(folder / WEIGHTS)
    del tensors[min(tensors)]
    save_file(tensors, folder / WEIGHTS)


@pytest.mark.parametrize("spoil", [
    remove_file(""), remove_file("unet"), remove_file("scheduler"), configure(_class_name="UNet2DConditionModel"),
    configure(num_class_embeds=10), lambda folder: (folder / WEIGHTS).unlink(), remove_first_tensor,
    configure(layers_per_block=2), lambda folder: (folder / WEIGHTS).write_bytes(b"no tensors"),
])  # fmt: skip
def test_folders_without_a_supported_model_are_refused(ddpm, tmp_path, spoil):
    folder = shutil.copytree(ddpm, tmp_path / "model")
    spoil(folder)
    with pytest.raises(ParameterError, match=str(folder)):
        create_reference(folder).check_shape((1, 8, 8))


def test_unsupported_image_shapes_are_refused(ddpm):
    with pytest.raises(ParameterError, match="1 input and 1 output channels; accepted: 3 each"):
        create_reference(ddpm).check_shape((3, 8, 8))
    with pytest.raises(ValueError, match="does not accept images of 1x7x8"):
        create_reference(ddpm).check_shape((1, 7, 8))
