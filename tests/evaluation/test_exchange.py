"""Geometries exchanged between images."""

import itertools

import pytest
import torch

from gahbench.evaluation import exchange_significance, retrieved


def random(count, seed=0):
    return torch.randn(count, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_is_the_share_of_all_permutations():
    table = random(6) + 0.5 * torch.eye(6)
    own = float(table.trace())
    sums = [sum(float(table[i, j]) for i, j in enumerate(order)) for order in itertools.permutations(range(6))]
    expected = sum(total >= own - 1e-9 for total in sums) / len(sums)
    assert 0.01 < expected < 0.5
    # 9999 random permutations: four standard errors.
    assert abs(exchange_significance(table) - expected) < 4 * (expected / 9999) ** 0.5


def test_without_any_agreement_it_is_uniform():
    found = torch.tensor([exchange_significance(random(10, seed), 199) for seed in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert abs(float((found <= level).double().mean()) - level) < 4 * (level * (1 - level) / 400) ** 0.5


@pytest.mark.parametrize("row", [1.0, -2.0])
def test_what_all_geometries_share_does_not_matter(row):
    table = random(12)
    assert exchange_significance(table + row * torch.arange(12.0)[:, None]) == exchange_significance(table)


def test_an_image_is_retrieved_where_its_own_geometry_agrees_the_most():
    assert retrieved(torch.tensor([[2.0, 1.0], [3.0, 0.0]])).tolist() == [1.0, 0.0]
