import pytest
import torch
from constructing import construct

import gahbench
from gahbench._util.errors import ParameterError
from gahbench.contracts.truth import Truth
from gahbench_plugins.bases.graph_laplacian import graph_laplacian
from gahbench_plugins.datasets.c_alpha import CAlpha
from gahbench_plugins.references.heat_kernel import HeatKernel


def images(count=3, size=10):
    return CAlpha(2.0, size).images("test", count).double()


def noise(like, seed=0):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernels(clean, kernel, time):
    """By the exponential, or the inverse, of matrices."""
    laplacian = graph_laplacian(clean)
    if kernel == "heat":
        return torch.matrix_exp(-time * laplacian)
    return torch.linalg.inv(torch.eye(laplacian.shape[1], dtype=torch.float64) + time * laplacian)


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("time", [0.1, 2.0, 30.0])
def test_images_and_derivatives_are_those_of_the_kernel(kernel, time):
    clean, reference = images(), construct(HeatKernel, kernel=kernel, time=time)
    noisy, truth, matrices = clean + 0.1 * noise(clean), Truth(clean), kernels(clean, kernel, time)
    expected = (matrices @ noisy.flatten(1)[..., None]).view_as(noisy)
    torch.testing.assert_close(reference.denoise(noisy, 0.1, truth), expected)
    torch.testing.assert_close(reference.jacobian(noisy, 0.1, truth).matrices(), matrices)


def test_channels_share_the_graph_and_are_filtered_alone():
    clean = torch.rand(2, 3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = clean + 0.1 * noise(clean)
    found = construct(HeatKernel, time=1.5).denoise(noisy, 0.1, Truth(clean))
    expected = noisy.flatten(2) @ kernels(clean, "heat", 1.5)
    torch.testing.assert_close(found, expected.view_as(noisy))


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_the_time_that_is_found_errs_no_more_than_any_other(kernel, sigma):
    truth = Truth(images(4))
    best = construct(HeatKernel, kernel=kernel).risk(truth, sigma)
    others = torch.stack(
        [
            construct(HeatKernel, kernel=kernel, time=float(time)).risk(truth, sigma)
            for time in torch.logspace(-3, 4, 30)
        ]
    )
    # Times are tried on a grid, next to a smooth minimum.
    assert (best <= 1.01 * others.amin(0)).all()
    assert (best < 0.9 * sigma**2).all()


def test_no_time_leaves_the_image_and_much_time_its_mean():
    clean = images()
    noisy = clean + 0.1 * noise(clean)
    for kernel in ("heat", "tikhonov"):
        found = construct(HeatKernel, kernel=kernel, time=1e-9).denoise(noisy, 0.1, Truth(clean))
        torch.testing.assert_close(found, noisy, atol=1e-7, rtol=0)
        # All differences join as these do: the graph is connected.
        late = construct(HeatKernel, "graph-laplacian[hr=1]", kernel, time=1e9).denoise(noisy, 0.1, Truth(clean))
        torch.testing.assert_close(late, noisy.mean((2, 3), keepdim=True).expand_as(noisy), atol=1e-6, rtol=0)


def test_heat_spreads_on_from_where_it_was_and_keeps_the_mean():
    clean = images()
    noisy, truth = clean + 0.1 * noise(clean), Truth(clean)
    halfway = construct(HeatKernel, time=0.8).denoise(noisy, 0.1, truth)
    torch.testing.assert_close(
        construct(HeatKernel, time=1.3).denoise(halfway, 0.1, truth),
        construct(HeatKernel, time=2.1).denoise(noisy, 0.1, truth),
    )
    torch.testing.assert_close(halfway.mean((1, 2, 3)), noisy.mean((1, 2, 3)))


def test_images_that_are_too_large_are_refused_and_it_is_an_oracle():
    construct(HeatKernel).check_shape((3, 64, 64))
    with pytest.raises(ValueError, match="up to 4096 pixels"):
        construct(HeatKernel).check_shape((1, 65, 64))
    assert construct(HeatKernel).kind == "oracle"


@pytest.mark.parametrize("kernel", ["heat", "tikhonov"])
def test_what_is_kept_is_the_trace_of_every_image(kernel):
    clean = torch.rand(3, 1, 6, 7, generator=torch.Generator().manual_seed(0))
    found = construct(HeatKernel, kernel=kernel, kept=0.3).jacobian(clean, 0.1, Truth(clean)).matrices()
    traces = found.diagonal(dim1=1, dim2=2).sum(1)
    assert traces.tolist() == pytest.approx([0.3 * 42] * 3, rel=1e-4)


def test_other_bases_and_a_time_beside_a_trace_are_refused():
    with pytest.raises(ParameterError, match="accepted are those of graphs, graph-laplacian and patch-graph"):
        gahbench.create("reference", "heat-kernel[sym4]")
    with pytest.raises(ValueError, match="accepted is one"):
        construct(HeatKernel, time=1.0, kept=0.5)
