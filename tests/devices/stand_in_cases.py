"""Tests of the behaviour of the stand-in GPU, which ``test_stand_in.py`` runs in a separate process."""

from __future__ import annotations

import copy
import io
import re

import pytest
import torch
from torch import nn

from devices import stand_in
from devices.stand_in import NAME, StandInTensor, record_waits
from gahbench.testing.on_meta import DeviceMixError

stand_in.install()
DEVICE = torch.device(NAME, 0)
ON_CPU, ON_DEVICE = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3).to(DEVICE)


def is_on_device(tensor, like):
    """Whether a tensor is on the stand-in GPU, with the values, shape, layout and dtype of a CPU tensor."""
    has_same_layout = (tensor.shape, tensor.stride(), tensor.dtype) == (like.shape, like.stride(), like.dtype)
    return (
        has_same_layout
        and isinstance(tensor, StandInTensor)
        and tensor.device == DEVICE
        and torch.equal(tensor.cpu(), like)
    )


MAKERS = [
    lambda device: torch.zeros(3, device=device),
    lambda device: torch.arange(5, device=device),
    lambda device: torch.eye(3, device=device),
    lambda device: torch.triu_indices(3, 3, device=device),
    lambda device: torch.tensor([1.0, 2.0], device=device),
    lambda device: torch.randperm(9, generator=torch.Generator(device).manual_seed(0), device=device),
    lambda device: torch.randn(4, generator=torch.Generator(device).manual_seed(0), device=device),
    lambda device: torch.empty(2, 3, device=device).fill_(1),
    lambda device: torch.zeros(2, 3, 4, 4, device=device).contiguous(memory_format=torch.channels_last),
    lambda device: ON_CPU.to(device).new_ones(3),
    lambda device: ON_CPU.to(device, torch.float64),
]


@pytest.mark.parametrize("make", MAKERS)
def test_constructors_agree_with_the_cpu(make):
    assert is_on_device(make(DEVICE), make("cpu"))


IN_PLACE = [
    lambda tensor: tensor.t_(),
    lambda tensor: tensor.resize_(3, 2),
    lambda tensor: tensor.add_(1),
    lambda tensor: tensor[0].fill_(7),
    lambda tensor: tensor.index_fill_(1, torch.arange(2, device=tensor.device), 3),
]


@pytest.mark.parametrize("change", IN_PLACE)
def test_in_place_operations_agree_with_the_cpu(change):
    device_tensor, cpu_tensor = ON_DEVICE.clone(), ON_CPU.clone()
    change(device_tensor)
    change(cpu_tensor)
    assert is_on_device(device_tensor, cpu_tensor)


def test_conjugates_agree_with_the_cpu():
    spectrum = torch.fft.fft(ON_DEVICE)
    expected = torch.fft.fft(ON_CPU)
    assert torch.equal((spectrum * spectrum.conj()).cpu(), (expected * expected.conj()).resolve_conj())
    assert torch.equal(spectrum.conj().imag.cpu(), expected.conj().imag.resolve_neg())


#: Operations that read values back once.
READS = [
    lambda: ON_DEVICE[0, 0].item(),
    lambda: float(ON_DEVICE[0, 1]),
    lambda: bool(ON_DEVICE[0, 1]),
    lambda: ON_DEVICE.tolist(),
    lambda: ON_DEVICE.cpu(),
    lambda: ON_CPU.clone().copy_(ON_DEVICE),
    lambda: f"{ON_DEVICE.sum():.1f}",
    lambda: ON_DEVICE.nonzero(),
    lambda: ON_DEVICE[ON_DEVICE > 2],
    lambda: ON_DEVICE.clone().__setitem__(ON_DEVICE > 2, torch.zeros(3, device=DEVICE)),
    lambda: torch.unique(ON_DEVICE),
    lambda: torch.repeat_interleave(ON_DEVICE, torch.ones(2, dtype=torch.int64, device=DEVICE), dim=0),
    lambda: torch.equal(ON_DEVICE, ON_DEVICE),
    lambda: torch.linalg.eigh(ON_DEVICE @ ON_DEVICE.T),
    lambda: torch.linalg.solve(torch.eye(2, device=DEVICE), ON_DEVICE),
]


@pytest.mark.parametrize("read", READS)
def test_operations_that_read_values_back_wait(read):
    with record_waits() as waits:
        read()
    assert len(waits) == 1
    assert re.fullmatch(r"read by \w+ at .*stand_in_cases\.py:\d+", waits[0])


UPLOADS = [
    lambda: ON_CPU.to(DEVICE),
    lambda: torch.tensor([1.0], device=DEVICE),
    lambda: ON_DEVICE[torch.tensor([1])],
    lambda: ON_DEVICE[[1, 0]],
    lambda: ON_DEVICE.clone().copy_(ON_CPU),
]


@pytest.mark.parametrize("upload", UPLOADS)
def test_blocking_copies_wait(upload):
    with record_waits() as waits:
        upload()
    assert len(waits) == 1
    assert waits[0].startswith("upload")


NO_WAIT = [
    lambda: ON_DEVICE * torch.tensor(2.0),
    lambda: torch.where(ON_DEVICE > 2, ON_DEVICE, torch.tensor(0.0)),
    lambda: ON_DEVICE.clone().__setitem__(ON_DEVICE > 2, 0),
    lambda: ON_DEVICE.clone().__setitem__((slice(None), ON_DEVICE[0] > 1), 0),
    lambda: ON_DEVICE.masked_fill(ON_DEVICE > 2, 0),
    lambda: ON_DEVICE[torch.arange(2, device=DEVICE)],
    lambda: ON_DEVICE[1:, ::2],
    lambda: ON_CPU.to(DEVICE, non_blocking=True),
    lambda: ON_DEVICE.clone().copy_(ON_CPU, non_blocking=True),
    lambda: torch.linalg.cholesky_ex(torch.eye(2, device=DEVICE)),
]


@pytest.mark.parametrize("operation", NO_WAIT)
def test_operations_on_the_device_do_not_wait(operation):
    with record_waits() as waits:
        operation()
    assert waits == []


MIXTURES = [
    lambda: ON_DEVICE + ON_CPU,
    lambda: ON_CPU.T @ ON_DEVICE,
    lambda: torch.cat([ON_DEVICE, ON_CPU]),
    lambda: torch.where(ON_DEVICE > 2, ON_DEVICE, ON_CPU),
    lambda: torch.tensor(1.0).add_(ON_DEVICE.sum()),
    lambda: ON_CPU[torch.arange(2, device=DEVICE)],
    lambda: ON_DEVICE.gather(0, torch.zeros(1, 3, dtype=torch.int64)),
    lambda: nn.functional.conv2d(torch.zeros(1, 1, 4, 4, device=DEVICE), torch.zeros(1, 1, 3, 3)),
    lambda: torch.randn(3, device=DEVICE, generator=torch.Generator()),
    lambda: torch.randperm(3, device=DEVICE, generator=torch.Generator()),
    lambda: ON_DEVICE.clone().normal_(generator=torch.Generator()),
    lambda: torch.randn(3, generator=torch.Generator(NAME)),
]


@pytest.mark.parametrize("mix", MIXTURES)
def test_mixing_devices_is_an_error(mix):
    with pytest.raises(DeviceMixError):
        mix()


def test_generators_know_their_device():
    assert torch.Generator(NAME).device == DEVICE
    assert torch.Generator().device.type == "cpu"
    assert all(
        isinstance(generator, torch.Generator)
        for generator in (torch.Generator(NAME), torch.Generator(), torch.default_generator)
    )


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


def test_modules_keep_their_parameters_when_they_move():
    """An optimizer that was created before the move still works, as on a GPU."""
    moved, stayed = network(), network()
    optimizers = [torch.optim.Adam(model.parameters(), lr=0.1) for model in (moved, stayed)]
    first = next(moved.parameters())
    moved.to(DEVICE)
    assert next(moved.parameters()) is first
    assert isinstance(first, nn.Parameter)
    assert first.device == DEVICE
    images = torch.rand(2, 1, 8, 8)
    for model, optimizer in zip((moved, stayed), optimizers, strict=True):
        model(images.to(first.device if model is moved else "cpu")).square().mean().backward()
        optimizer.step()
    for on_device, on_cpu in zip(moved.parameters(), stayed.parameters(), strict=True):
        assert torch.allclose(on_device.detach().cpu(), on_cpu.detach(), atol=1e-6)


def test_a_saved_network_can_be_loaded_on_the_cpu_and_moved_back():
    moved, file = network().to(DEVICE), io.BytesIO()
    torch.save(moved.state_dict(), file)
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    assert all(type(value) is torch.Tensor and value.device.type == "cpu" for value in state.values())
    copied = copy.deepcopy(moved)
    copied.load_state_dict(state)
    assert all(torch.equal(value.cpu(), state[name]) for name, value in copied.state_dict().items())


def test_autocast_computes_products_in_the_lower_precision_and_sums_in_float32():
    """The dtypes agree with CUDA's autocast."""
    images, weight = torch.rand(1, 2, 4, 4, device=DEVICE), torch.rand(2, 2, 3, 3, device=DEVICE)
    with torch.autocast(NAME, torch.bfloat16):
        product = nn.functional.conv2d(images, weight)
        results = [
            product,
            images.flatten(0, 2) @ images.flatten(0, 2).T,
            nn.functional.linear(images, weight[0, 0, :1].repeat(1, 2)[:, :4]),
            product.relu(),
            product.softmax(1),
            product.exp(),
            product.sum(),
            nn.functional.layer_norm(product, product.shape),
            images.double() @ images.double(),
            nn.functional.interpolate(product, scale_factor=2, mode="bilinear"),
        ]
    low, full = torch.bfloat16, torch.float32
    expected_types = [low, low, low, low, full, full, full, full, torch.float64, full]
    assert [result.dtype for result in results] == expected_types
    expected = nn.functional.conv2d(images.cpu().bfloat16(), weight.cpu().bfloat16())
    assert torch.equal(product.cpu(), expected)


def test_forward_and_backward_derivatives_under_vmap_agree_with_the_cpu():
    def function(images):
        return 3 * (1.5 - 2 * images[:, 1:]) * images[:, :2].sin()

    directions = torch.rand(4, 2, 3)
    results = []
    for device in ("cpu", DEVICE):
        images, tangents = ON_CPU.to(device), directions.to(device)
        product = torch.func.vmap(lambda tangent, images=images: torch.func.jvp(function, (images,), (tangent,))[1])
        results += [product(tangents).cpu(), torch.func.jacrev(function)(images).cpu()]
    assert torch.allclose(results[0], results[2])
    assert torch.allclose(results[1], results[3])
