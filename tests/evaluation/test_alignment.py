import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gahbench.evaluation.alignment import align
from gahbench.jacobian import DenseMaps, Sketch

SHAPE, SIZE, COUNT = (1, 4, 5), 20, 9


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def filters(seed=0, count=COUNT):
    matrices = random(count, SIZE, SIZE, seed=seed)
    return (matrices + matrices.mT) / 2


def exact(matrices):
    return Sketch(matrices, exact=True)


def by_hand(ones, others):
    """SCIENCE.md, section 5: the mean of the other images is removed, cosines of all pairs."""
    ones, others = ones.numpy(), others.numpy()
    count = len(ones)

    def less_the_others(matrices):
        return [matrices[i] - np.mean([matrices[j] for j in range(count) if j != i], axis=0) for i in range(count)]

    def cosine(one, other):
        return np.sum(one * other) / (np.linalg.norm(one) * np.linalg.norm(other))

    return np.array([[cosine(s, w) for w in less_the_others(others)] for s in less_the_others(ones)])


@settings(deadline=None, max_examples=15)
@given(count=st.integers(2, 10), seed=st.integers(0, 99), shared=st.floats(0, 1))
def test_it_is_the_cosine_of_what_is_left_without_the_mean_of_the_others(count, seed, shared):
    ones = filters(seed, count)
    others = shared * ones + filters(seed + 1000, count)
    found, table = align(exact(ones), exact(others)), by_hand(ones, others)
    own = table.diagonal()
    np.testing.assert_allclose(found.own, own, atol=1e-12)
    np.testing.assert_allclose(found.null, (table.sum(1) - own) / (count - 1), atol=1e-12)
    assert found.retrieved.tolist() == (table.argmax(1) == np.arange(count)).tolist()
    assert found.error.tolist() == [0] * count


def test_filters_are_aligned_with_themselves():
    found = align(exact(filters()), exact(filters()))
    assert found.own.tolist() == pytest.approx([1] * COUNT)
    assert found.retrieved.tolist() == [1] * COUNT
    assert found.own.dtype == torch.float64
    opposite = align(exact(filters()), exact(-filters()))
    assert opposite.own.tolist() == pytest.approx([-1] * COUNT)
    assert opposite.retrieved.tolist() == [0] * COUNT


@settings(deadline=None, max_examples=15)
@given(scale=st.floats(1e-3, 1e3), common=st.floats(-3, 3), seed=st.integers(0, 99))
def test_neither_scale_nor_what_all_images_share_nor_an_orthogonal_change_of_basis_matters(scale, common, seed):
    ones, others = filters(seed), filters(seed) + 2 * filters(seed + 500)
    expected = align(exact(ones), exact(others))
    turn = torch.linalg.qr(random(SIZE, SIZE, seed=seed))[0]
    shared = common * filters(seed + 900, 1)
    for changed_ones, changed_others in (
        (scale * ones, others / scale),
        (ones + shared, others - 2 * shared),
        (turn @ ones @ turn.mT, turn @ others @ turn.mT),
    ):
        found = align(exact(changed_ones), exact(changed_others))
        torch.testing.assert_close(found.own, expected.own)
        torch.testing.assert_close(found.null, expected.null)
        assert torch.equal(found.retrieved, expected.retrieved)


def test_the_null_is_minus_the_score_over_the_others_where_all_change_as_much():
    # Corners of a regular simplex, turned: what is left of each has one length.
    corners = torch.zeros(COUNT, SIZE, SIZE, dtype=torch.float64)
    corners[range(COUNT), range(COUNT), range(COUNT)] = 1
    turn = torch.linalg.qr(random(SIZE, SIZE))[0]
    found = align(exact(filters()), exact(turn @ corners @ turn.mT))
    torch.testing.assert_close(found.null, -found.own / (COUNT - 1))
    assert found.own.abs().max() > 0.01


def test_unlike_filters_score_about_nothing_and_are_retrieved_by_chance():
    scores = [align(exact(filters(seed)), exact(filters(seed + 100))) for seed in range(40)]
    own = torch.cat([found.own for found in scores])
    # A cosine in 210 dimensions has a standard deviation of about 1 / sqrt(210).
    assert own.mean().abs() < 5 * 210**-0.5 / len(own) ** 0.5
    assert 0.8 < own.std() * 210**0.5 < 1.2
    retrieved = torch.cat([found.retrieved for found in scores]).mean()
    assert abs(retrieved - 1 / COUNT) < 4 * (COUNT * len(own)) ** -0.5


@pytest.mark.parametrize("rounding", [0, 1e-9])
def test_filters_that_ignore_the_image_score_nothing(rounding):
    same = filters(3, 1) + rounding * filters(4)
    found = align(exact(same), exact(filters()))
    assert found.own.tolist() == found.null.tolist() == found.retrieved.tolist() == [0] * COUNT


def test_there_is_nothing_to_be_aligned_with_where_the_others_do_not_change():
    same = filters(3, 1).expand(COUNT, -1, -1)
    assert align(exact(filters()), exact(same)) is None
    assert align(exact(same), exact(same)) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_filters_on_a_gpu_are_aligned_with_those_that_are_not():
    ones, others = exact(filters()), exact(filters(1))
    there = Sketch(ones.rows.cuda(), exact=True)
    torch.testing.assert_close(align(there, others).own, align(ones, others).own, atol=1e-5, rtol=0)


@pytest.mark.parametrize("closeness", [0.0, 0.5, 5.0])
def test_random_vectors_give_the_same_within_errors_of_the_right_size(closeness):
    ones = filters()
    others = closeness * ones + filters(1)
    expected = align(exact(ones), exact(others)).own
    found = [
        align(DenseMaps(ones, SHAPE).sketch(64, seed), DenseMaps(others, SHAPE).sketch(64, seed)) for seed in range(60)
    ]
    differences = torch.stack([one.own - expected for one in found])
    errors = torch.stack([one.error for one in found])
    assert (errors > 0).all()
    scores = differences / errors
    # Of 540 scores some are beyond 4, as the error is estimated from 16 groups: Student's t has longer tails.
    assert (scores.abs() > 4).double().mean() < 0.01
    assert 0.75 < (differences.square().mean() / errors.square().mean()).sqrt() < 1.3
    # Ratios of estimates are biased, but far less than they vary.
    assert differences.mean().abs() < 0.5 * errors.mean()


def test_too_few_or_unpaired_images_are_refused():
    with pytest.raises(ValueError, match="2 or more pairs of filters, not 1 with 1"):
        align(exact(filters(count=1)), exact(filters(count=1)))
    with pytest.raises(ValueError, match="not 9 with 8"):
        align(exact(filters()), exact(filters(count=8)))
