"""What the stand-in does where a GPU would; run by ``test_stand_in.py`` in a process of its own."""

from __future__ import annotations

import copy
import io
import re
import threading

import pytest
import torch
from torch import nn

from gahbench.devices import stand_in
from gahbench.devices.stand_in import NAME, MixtureError, StandInTensor, waits_recorded

stand_in.install()
DEVICE = torch.device(NAME, 0)
HERE, THERE = torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(2, 3).to(DEVICE)


def is_there(tensor, like):
    """Whether a tensor is on the stand-in, with the values, shape, layout and type of one on the CPU."""
    same = (tensor.shape, tensor.stride(), tensor.dtype) == (like.shape, like.stride(), like.dtype)
    return same and isinstance(tensor, StandInTensor) and tensor.device == DEVICE and torch.equal(tensor.cpu(), like)


MAKERS = [
    lambda device: torch.zeros(3, device=device),
    lambda device: torch.full((2, 2), 0.5, device=device),
    lambda device: torch.arange(5, device=device),
    lambda device: torch.arange(0, 1, 0.25, device=device),
    lambda device: torch.linspace(0, 1, 5, device=device),
    lambda device: torch.eye(3, device=device),
    lambda device: torch.eye(2, 3, device=device),
    lambda device: torch.triu_indices(3, 3, device=device),
    lambda device: torch.tensor([1.0, 2.0], device=device),
    lambda device: torch.as_tensor(0.5, device=device),
    lambda device: torch.randperm(9, generator=torch.Generator(device).manual_seed(0), device=device),
    lambda device: torch.randn(4, generator=torch.Generator(device).manual_seed(0), device=device),
    lambda device: torch.empty(2, 3, device=device).fill_(1),
    lambda device: torch.zeros(2, 3, 4, 4, device=device).contiguous(memory_format=torch.channels_last),
    lambda device: HERE.to(device).new_ones(3),
    lambda device: HERE.to(device, torch.float64),
]


@pytest.mark.parametrize("make", MAKERS)
def test_constructors_make_what_the_cpu_makes(make):
    assert is_there(make(DEVICE), make("cpu"))


def test_constructors_work_in_threads():
    made = []
    thread = threading.Thread(target=lambda: made.append(torch.ones(3, device=DEVICE)))
    thread.start()
    thread.join()
    assert is_there(made[0], torch.ones(3))


IN_PLACE = [
    lambda tensor: tensor.t_(),
    lambda tensor: tensor.unsqueeze_(0),
    lambda tensor: tensor.transpose_(0, 1),
    lambda tensor: tensor.resize_(3, 2),
    lambda tensor: tensor.add_(1),
    lambda tensor: tensor.mul_(tensor.clone()),
    lambda tensor: tensor[0].fill_(7),
    lambda tensor: tensor.index_fill_(1, torch.arange(2, device=tensor.device), 3),
]


@pytest.mark.parametrize("change", IN_PLACE)
def test_changes_in_place_are_those_of_the_cpu(change):
    there, here = THERE.clone(), HERE.clone()
    change(there)
    change(here)
    assert is_there(there, here)


def test_results_in_a_given_tensor():
    out = torch.empty(0, device=DEVICE)
    torch.add(THERE, 1, out=out)
    assert is_there(out, HERE + 1)


def test_conjugates_are_computed():
    spectrum = torch.fft.fft(THERE)
    expected = torch.fft.fft(HERE)
    assert torch.equal((spectrum * spectrum.conj()).cpu(), (expected * expected.conj()).resolve_conj())
    assert torch.equal(spectrum.conj().imag.cpu(), expected.conj().imag.resolve_neg())


#: Each reads values back, once.
READS = [
    lambda: THERE[0, 0].item(),
    lambda: float(THERE[0, 1]),
    lambda: int(THERE[0, 1]),
    lambda: bool(THERE[0, 1]),
    lambda: THERE.tolist(),
    lambda: THERE.cpu(),
    lambda: THERE.to("cpu", torch.float64),
    lambda: HERE.clone().copy_(THERE),
    lambda: f"{THERE.sum():.1f}",
    lambda: THERE.nonzero(),
    lambda: THERE[THERE > 2],
    lambda: THERE.masked_select(THERE > 2),
    lambda: THERE.clone().__setitem__(THERE > 2, torch.zeros(3, device=DEVICE)),
    lambda: torch.unique(THERE),
    lambda: torch.bincount(torch.arange(3, device=DEVICE)),
    lambda: torch.repeat_interleave(THERE, torch.ones(2, dtype=torch.int64, device=DEVICE), dim=0),
    lambda: torch.allclose(THERE, THERE),
    lambda: torch.equal(THERE, THERE),
    lambda: torch.linalg.eigh(THERE @ THERE.T),
    lambda: torch.linalg.svd(THERE),
    lambda: torch.linalg.solve(torch.eye(2, device=DEVICE), THERE),
]


@pytest.mark.parametrize("read", READS)
def test_what_reads_values_back_waits(read):
    with waits_recorded() as waits:
        read()
    assert [wait.kind for wait in waits] == ["read"]
    assert re.fullmatch(r"read by \w+ at .*stand_in_cases\.py:\d+", str(waits[0]))


UPLOADS = [
    lambda: HERE.to(DEVICE),
    lambda: torch.tensor([1.0], device=DEVICE),
    lambda: THERE[torch.tensor([1])],
    lambda: THERE[[1, 0]],
    lambda: THERE.clone().copy_(HERE),
]


@pytest.mark.parametrize("upload", UPLOADS)
def test_copies_that_block_wait(upload):
    with waits_recorded() as waits:
        upload()
    assert [wait.kind for wait in waits] == ["upload"]


FREE = [
    lambda: THERE * torch.tensor(2.0),
    lambda: torch.where(THERE > 2, THERE, torch.tensor(0.0)),
    lambda: THERE.clone().__setitem__(THERE > 2, 0),
    lambda: THERE.clone().__setitem__((slice(None), THERE[0] > 1), 0),
    lambda: THERE.masked_fill(THERE > 2, 0),
    lambda: THERE[torch.arange(2, device=DEVICE)],
    lambda: THERE[1:, ::2],
    lambda: THERE.repeat_interleave(2, 0),
    lambda: HERE.to(DEVICE, non_blocking=True),
    lambda: THERE.clone().copy_(HERE, non_blocking=True),
    lambda: torch.linalg.cholesky_ex(torch.eye(2, device=DEVICE)),
    lambda: torch.full((2,), 0.5, device=DEVICE),
]


@pytest.mark.parametrize("operation", FREE)
def test_what_stays_on_the_device_does_not_wait(operation):
    with waits_recorded() as waits:
        operation()
    assert waits == []


MIXTURES = [
    lambda: THERE + HERE,
    lambda: HERE.T @ THERE,
    lambda: torch.cat([THERE, HERE]),
    lambda: torch.stack([THERE.sum(), torch.tensor(1.0)]),
    lambda: torch.where(THERE > 2, THERE, HERE),
    lambda: torch.tensor(1.0).add_(THERE.sum()),
    lambda: HERE[torch.arange(2, device=DEVICE)],
    lambda: HERE[THERE > 2],
    lambda: THERE.gather(0, torch.zeros(1, 3, dtype=torch.int64)),
    lambda: THERE @ torch.tensor([1.0, 2.0, 3.0]),
    lambda: nn.functional.conv2d(torch.zeros(1, 1, 4, 4, device=DEVICE), torch.zeros(1, 1, 3, 3)),
    lambda: torch.randn(3, device=DEVICE, generator=torch.Generator()),
    lambda: torch.randperm(3, device=DEVICE, generator=torch.Generator()),
    lambda: THERE.clone().normal_(generator=torch.Generator()),
    lambda: torch.randn(3, generator=torch.Generator(NAME)),
    lambda: HERE.clone().normal_(generator=torch.Generator(NAME)),
]


@pytest.mark.parametrize("mix", MIXTURES)
def test_tensors_of_the_cpu_are_refused(mix):
    with pytest.raises(MixtureError, match=r"stand_in_cases\.py:\d+"):
        mix()


def test_numpy_is_refused():
    with pytest.raises(TypeError, match=r"Use Tensor\.cpu\(\)"):
        THERE.numpy()


def test_generators_know_their_device():
    assert torch.Generator(NAME).device == DEVICE
    assert torch.Generator().device.type == "cpu"
    assert all(
        isinstance(each, torch.Generator)
        for each in (torch.Generator(NAME), torch.Generator(), torch.default_generator)
    )


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))


def test_modules_keep_their_parameters_when_they_move():
    """An optimizer that was made before the move goes on, as on a GPU."""
    moved, stayed = network(), network()
    optimizers = [torch.optim.Adam(each.parameters(), lr=0.1) for each in (moved, stayed)]
    first = next(moved.parameters())
    moved.to(DEVICE)
    assert next(moved.parameters()) is first
    assert isinstance(first, nn.Parameter)
    assert first.device == DEVICE
    images = torch.rand(2, 1, 8, 8)
    for each, optimizer in zip((moved, stayed), optimizers, strict=True):
        each(images.to(first.device if each is moved else "cpu")).square().mean().backward()
        optimizer.step()
    for there, here in zip(moved.parameters(), stayed.parameters(), strict=True):
        assert torch.allclose(there.detach().cpu(), here.detach(), atol=1e-6)


def test_data_of_parameters_can_be_replaced():
    there = nn.Parameter(THERE.clone())
    there.data = there.data * 2
    assert torch.equal(there.detach().cpu(), HERE * 2)
    with pytest.raises(MixtureError, match=r"stand_in_cases\.py"):
        there.data = HERE


def test_a_saved_network_is_loaded_on_the_cpu_and_back():
    moved, file = network().to(DEVICE), io.BytesIO()
    torch.save(moved.state_dict(), file)
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    assert all(type(value) is torch.Tensor and value.device.type == "cpu" for value in state.values())
    copied = copy.deepcopy(moved)
    copied.load_state_dict(state)
    assert all(torch.equal(value.cpu(), state[name]) for name, value in copied.state_dict().items())


def test_autocast_computes_products_in_the_lower_precision_and_sums_in_float32():
    """The types are those that CUDA's autocast gives."""
    images, weight = torch.rand(1, 2, 4, 4, device=DEVICE), torch.rand(2, 2, 3, 3, device=DEVICE)
    with torch.autocast(NAME, torch.bfloat16):
        product = nn.functional.conv2d(images, weight)
        types = [
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
            torch.tensordot(product, images.new_zeros(2, 3), ([2], [0])),
            nn.functional.grid_sample(product, torch.zeros(1, 2, 2, 2, device=DEVICE), align_corners=False),
        ]
    low, full = torch.bfloat16, torch.float32
    expected_types = [low, low, low, low, full, full, full, full, torch.float64, full, full, full]
    assert [each.dtype for each in types] == expected_types
    expected = nn.functional.conv2d(images.cpu().bfloat16(), weight.cpu().bfloat16())
    assert torch.equal(product.cpu(), expected)


def test_forward_and_backward_derivatives_under_vmap():
    def function(images):
        return 3 * (1.5 - 2 * images[:, 1:]) * images[:, :2].sin()

    along = torch.rand(4, 2, 3)
    results = []
    for device in ("cpu", DEVICE):
        images, tangents = HERE.to(device), along.to(device)
        product = torch.func.vmap(lambda tangent, images=images: torch.func.jvp(function, (images,), (tangent,))[1])
        results += [product(tangents).cpu(), torch.func.jacrev(function)(images).cpu()]
    assert torch.allclose(results[0], results[2])
    assert torch.allclose(results[1], results[3])


@pytest.mark.filterwarnings("ignore:Sparse")
def test_sparse_products():
    rows, columns = torch.tensor([0, 1, 2]), torch.tensor([1, 0])
    products = []
    for device in ("cpu", DEVICE):
        sparse = torch.sparse_csr_tensor(*(each.to(device) for each in (rows, columns, torch.ones(2))), (2, 2))
        products.append((sparse @ HERE.to(device)).cpu())
    assert torch.equal(*products)
