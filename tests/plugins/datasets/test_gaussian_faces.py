import numpy as np
import pytest
import torch
from constructing import construct

from gahbench._util.errors import ParameterError
from gahbench.registry.registry import Registry
from gahbench_plugins.datasets.faces import Faces
from gahbench_plugins.datasets.gaussian_faces import GaussianFaces, principal_components


def write(path, count, *shape):
    """Correlated images of random contrast, few enough of them to span little, or enough to span all."""
    random = np.random.default_rng(0)
    images = random.uniform(size=(count, *shape)).cumsum(1).cumsum(2)
    np.savez(path, images=(images / images.max()).astype(np.float32))
    return str(path)


@pytest.fixture(params=["singular", "full", "colour", "embedded"])
def name(request, tmp_path):
    """Text of a set of faces: with fewer training images than pixels, with more, in colour, and the embedded one."""
    if request.param == "embedded":
        return "faces[size=8]"
    count, shape = {"singular": (40, (8, 8)), "full": (300, (8, 8)), "colour": (40, (8, 8, 3))}[request.param]
    kind = "colour=rgb,near_repeats=keep" if request.param == "colour" else "near_repeats=keep"
    return f"faces[path={write(tmp_path / 'faces.npz', count, *shape)},{kind}]"


@pytest.fixture
def dataset(name):
    return construct(GaussianFaces, name)


def moments(dataset, share=0.01, contrast=0.6):
    """Mean and covariance, by numpy, from the formula."""
    images = dataset.faces.images("train", dataset.faces.available("train")).double().flatten(1).numpy()
    covariance = np.cov(images.T, ddof=0)
    pixels = len(covariance)
    even = np.trace(covariance) / pixels * np.eye(pixels)
    covariance = contrast**2 * ((1 - share) * covariance + share * even)
    return torch.from_numpy(images.mean(0)), torch.from_numpy(covariance)


def noise(images, sigma):
    return sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("sigma", [1e-3, 0.05, 2.0])
def test_posterior_is_that_of_a_dense_solve(dataset, sigma):
    mean, covariance = moments(dataset)
    noisy = dataset.images("test", 5).double()
    noisy = noisy + noise(noisy, sigma)
    posterior = dataset.posterior(noisy, sigma)
    gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(len(mean)).double(), covariance)
    torch.testing.assert_close(posterior.mean.flatten(1), mean + (noisy.flatten(1) - mean) @ gain, atol=1e-9, rtol=0)
    assert posterior.mean.shape == noisy.shape
    spread = (covariance - covariance @ gain).trace()
    torch.testing.assert_close(posterior.trace, spread.expand(5), atol=0, rtol=1e-7)


def test_true_basis_diagonalises_the_covariance_and_is_complete(dataset):
    _, covariance = moments(dataset)
    basis = dataset.true_basis("test", 3)
    vectors, energies = basis.vectors[0], basis.energies[0]
    assert vectors.shape == covariance.shape
    torch.testing.assert_close(vectors.mT @ covariance @ vectors, torch.diag(energies), atol=1e-12, rtol=0)
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(len(vectors)).double(), atol=1e-12, rtol=0)
    assert (energies.diff() <= 1e-15).all()
    assert energies.sum().item() == pytest.approx(covariance.trace().item())


def test_images_have_mean_and_covariance(dataset):
    count = 20_000
    mean, exact = moments(dataset)
    images = dataset.draw(torch.Generator().manual_seed(0), count).double().flatten(1)
    variance = exact.diagonal()
    assert ((images.mean(0) - mean) / (variance / count).sqrt()).abs().max() < 5
    centred = images - mean
    # Isserlis: the variance of a product of two Gaussians is v_i v_j + c_ij^2.
    error = ((variance[:, None] * variance + exact.square()) / count).sqrt()
    off = (centred.mT @ centred / count - exact) / error
    assert off.abs().max() < 5.5
    assert off.square().mean() == pytest.approx(1, abs=0.5)


@pytest.mark.parametrize("sigma", [0.005, 0.0158, 0.05, 0.158, 0.5])
def test_realised_error_is_the_trace(sigma):
    dataset = construct(GaussianFaces, "faces[size=12]")
    clean = dataset.images("test", 2048).double()
    posterior = dataset.posterior(clean + noise(clean, sigma), sigma)
    realised = (posterior.mean - clean).square().flatten(1).sum(1)
    standard_error = realised.std().item() / 2048**0.5
    assert realised.mean().item() == pytest.approx(posterior.trace[0].item(), abs=4 * standard_error)
    assert standard_error < 0.01 * realised.mean()


def test_limits_of_the_noise(dataset):
    mean, covariance = moments(dataset)
    noisy = dataset.images("test", 2).double()
    little, much = dataset.posterior(noisy, 1e-9), dataset.posterior(noisy, 1e9)
    torch.testing.assert_close(little.mean, noisy, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        little.trace, torch.full((2,), len(mean) * 1e-18, dtype=torch.float64), atol=0, rtol=1e-9
    )
    torch.testing.assert_close(much.mean.flatten(1), mean.expand(2, -1), atol=1e-12, rtol=0)
    torch.testing.assert_close(much.trace, covariance.trace().expand(2), atol=0, rtol=1e-9)


def test_jacobian_trace_is_that_of_the_error(dataset):
    sigma = 0.1
    noisy = dataset.images("test", 1).double()
    jacobian = torch.autograd.functional.jacobian(lambda y: dataset.posterior(y, sigma).mean.flatten(), noisy)
    trace = jacobian.reshape(noisy.numel(), -1).trace()
    # Tweedie, to second order (Kadkhodaie 2024, equation 9).
    torch.testing.assert_close(sigma**2 * trace, dataset.posterior(noisy, sigma).trace[0])


def test_without_an_even_share_images_lie_in_the_span_of_the_faces():
    dataset = construct(GaussianFaces, "faces[size=12]", isotropic=0.0)
    faces = dataset.faces.images("train", 64).double().flatten(1)
    images = dataset.images("test", 8).double()
    drawn = images.flatten(1) - faces.mean(0)
    span = torch.linalg.qr((faces - faces.mean(0)).mT[:, :63]).Q
    assert (drawn - drawn @ span @ span.mT).abs().max() < 1e-6
    assert drawn.std() > 0.05
    # As sigma tends to 0 the error is that of 63 dimensions: 64 faces less their mean.
    torch.testing.assert_close(
        dataset.posterior(images, 1e-6).trace, torch.full((8,), 63e-12, dtype=torch.float64), rtol=1e-4, atol=0
    )
    posterior = dataset.posterior(images + noise(images, 1), 1e-3)
    offset = posterior.mean.flatten(1) - faces.mean(0)
    assert (offset - offset @ span @ span.mT).abs().max() < 1e-9


def test_contrast_is_a_change_of_noise_level(name):
    """The best denoiser at sigma for one contrast is that at sigma / contrast for the full one."""
    low, full = construct(GaussianFaces, name, contrast=0.3), construct(GaussianFaces, name, contrast=1.0)
    mean = full.mean
    offset = noise(torch.zeros(3, *full.shape), 1)
    found, expected = low.posterior(mean + 0.3 * offset, 0.06), full.posterior(mean + offset, 0.2)
    torch.testing.assert_close((found.mean - mean) / 0.3, expected.mean - mean)
    torch.testing.assert_close(found.trace / 0.09, expected.trace)


def test_default_rarely_leaves_the_unit_interval():
    dataset = construct(GaussianFaces)
    assert dataset.shape == (1, 24, 24)
    mean, covariance = moments(dataset)
    normal = torch.distributions.Normal(mean, covariance.diagonal().sqrt())
    tail = (normal.cdf(torch.zeros_like(mean)) + 1 - normal.cdf(torch.ones_like(mean))).mean().item()
    assert tail == pytest.approx(2.4e-3, rel=0.1)
    images = dataset.images("train", 1024)
    outside = ((images < 0) | (images > 1)).double().flatten(1).mean(1)
    assert outside.mean().item() == pytest.approx(tail, abs=4 * outside.std().item() / 32)


@pytest.mark.parametrize("count", [5, 30])
def test_principal_components_do_not_depend_on_how_they_are_found(count):
    """Fewer images than pixels, and as many or more, take different ways; chunks do not matter."""
    images = torch.rand(count, 12, generator=torch.Generator().manual_seed(0))
    found = principal_components(images)
    expected = torch.from_numpy(np.cov(images.double().numpy().T, ddof=0))
    torch.testing.assert_close((found.components * found.variances) @ found.components.mT, expected)
    padded = principal_components(torch.cat([images] * 300))
    torch.testing.assert_close((padded.components * padded.variances) @ padded.components.mT, expected)


def test_it_is_keyed_by_the_pixels_of_the_faces(tmp_path):
    inner = Faces(size=24)
    dataset = construct(GaussianFaces)
    assert dataset.fingerprint() == inner.fingerprint()
    assert dataset.card.licence == inner.card.licence
    assert inner.card.origin in dataset.card.origin
    assert dataset.available("train") is None
    first = Registry().configure("dataset", "gaussian-faces").identity
    assert first["nested"]["faces"]["name"] == "faces"
    assert Registry().configure("dataset", "gaussian-faces").label == "gaussian-faces[faces[size=24]]"


def test_parameters_are_checked(tmp_path):
    with pytest.raises(ValueError, match="never ends; accepted"):
        construct(GaussianFaces, "discs")
    single = tmp_path / "one.npz"
    np.savez(single, images=np.random.default_rng(0).uniform(size=(1, 8, 8)).astype(np.float32))
    with pytest.raises(ValueError, match="holds 0 training images; accepted"):
        construct(GaussianFaces, f"faces[path={single}]")
    registry = Registry()
    for wrong in ("isotropic=-0.1", "isotropic=1.5", "contrast=0", "faces=nothing", "faces=faces[size=2]"):
        with pytest.raises(Exception, match="gaussian-faces") as caught:
            registry.configure("dataset", f"gaussian-faces[{wrong}]")
        assert isinstance(caught.value, ParameterError) or "nothing" in wrong
