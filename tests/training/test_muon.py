"""The Muon optimiser: singular values and sizes of updates."""

import copy

import pytest
import torch
from torch import nn

from gahbench.training.muon import UPDATE_RMS, Muon, orthogonalise


@pytest.mark.parametrize(("rows", "columns"), [(6, 6), (4, 30), (30, 4)])
def test_singular_values_become_about_one_and_singular_vectors_do_not_change(rows, columns):
    torch.manual_seed(0)
    matrices = torch.randn(5, rows, columns) * torch.tensor([1e-2, 1e-1, 1.0, 1e2, 1e6]).view(-1, 1, 1)
    result = orthogonalise(matrices)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    core = left.mT @ result @ right.mT
    values = core.diagonal(dim1=1, dim2=2)
    assert float((core - torch.diag_embed(values)).abs().max()) < 1e-4
    # Singular values far below the norm may need more iterations.
    assert float(values.min()) > 0
    assert float(values.median()) > 0.6
    assert float(values.max()) < 1.3
    # The result does not depend on the scale of a gradient, and zeros stay zeros.
    assert torch.allclose(orthogonalise(3 * matrices), result, atol=1e-4)
    assert torch.equal(orthogonalise(0 * matrices), 0 * matrices)


def test_a_layer_whose_gradient_vanishes_stops_moving():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 6))
    optimizer = Muon([weight], lr=0.01)
    weight.grad = torch.randn(4, 6)
    optimizer.step()
    weight.grad = torch.zeros(4, 6)
    for step in range(1500):
        before = weight.detach().clone()
        optimizer.step()
        assert weight.isfinite().all(), step
    assert torch.equal(weight, before)


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (32, 32)])
def test_an_update_has_the_size_of_an_update_of_adam(shape):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(shape))
    before = weight.detach().clone()
    optimizer = Muon([weight], lr=0.01)
    weight.grad = 1e3 * torch.randn(shape)
    optimizer.step()
    size = float((weight.detach() - before).square().mean().sqrt())
    assert size == pytest.approx(0.01 * UPDATE_RMS, rel=0.25)


def test_gains_and_single_rows_are_updated_by_adam():
    torch.manual_seed(0)
    ours, theirs = (nn.ParameterList([torch.zeros(5), torch.zeros(1, 3, 2, 2)]) for _ in range(2))
    muon, adam = Muon(ours, lr=0.1, weight_decay=0.1), torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.1)
    for step in range(4):
        for parameters in (ours, theirs):
            torch.manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape)
        for optimizer in (muon, adam):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (1 + step)
            optimizer.step()
    assert all(torch.equal(left, right) for left, right in zip(ours, theirs, strict=True))


def test_kernels_of_equal_shape_are_updated_independently_and_only_with_a_gradient():
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(4, 3, 3, 3)) for _ in range(3)]
    alone, idle = copy.deepcopy(together), nn.Parameter(torch.ones(2, 3))
    optimizers = [Muon([*together, idle], lr=0.1, weight_decay=0.5)]
    optimizers += [Muon([parameter], lr=0.1, weight_decay=0.5) for parameter in alone]
    for _ in range(3):
        for grouped, single in zip(together, alone, strict=True):
            grouped.grad = torch.randn_like(grouped)
            single.grad = grouped.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for grouped, single in zip(together, alone, strict=True):
        assert torch.allclose(grouped, single, atol=1e-6)
    assert torch.equal(idle, torch.ones(2, 3))
