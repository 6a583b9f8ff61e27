import pytest
import torch

from gahbench.jacobian import DenseMaps, SparseMaps


def test_sparse_maps_are_their_matrices():
    draw = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 12, 12, generator=draw, dtype=torch.float64)
    matrices *= torch.rand(12, 12, generator=draw) < 0.3
    places = (matrices[0] != 0).nonzero().T
    # In no order.
    places = places[:, torch.randperm(places.shape[1], generator=draw)]
    maps, dense = SparseMaps(places, matrices[:, places[0], places[1]], (3, 2, 2)), DenseMaps(matrices, (3, 2, 2))
    assert torch.equal(maps.matrices(), matrices)
    for vectors in (torch.randn(3, 5, 12, generator=draw).double(), torch.randn(1, 4, 12, generator=draw)):
        torch.testing.assert_close(maps.matvec(vectors), dense.matvec(vectors))
        torch.testing.assert_close(maps.rmatvec(vectors), dense.rmatvec(vectors))
        torch.testing.assert_close(maps.only(1).matvec(vectors[:1]), dense.only(1).matvec(vectors[:1]))
    torch.testing.assert_close(maps.trace().value, matrices.diagonal(dim1=1, dim2=2).sum(1))
    assert len(maps) == 3
    assert maps.method == "sparse matrices"


def test_values_and_places_must_be_as_many():
    with pytest.raises(ValueError, match=r"\(2, K\)"):
        SparseMaps(torch.zeros(2, 3, dtype=torch.long), torch.zeros(1, 4), (1, 2, 2))
