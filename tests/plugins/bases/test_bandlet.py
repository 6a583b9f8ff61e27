"""Bandlets: orthonormal at every size, optimal in their dictionary, and never worse than their wavelet."""

import itertools
import math

import pytest
import torch
from random_images import normal as images

import gahbench
from gahbench_plugins.bases import squares as geometry
from gahbench_plugins.bases.alpert import alpert
from gahbench_plugins.bases.bandlet import Bandlet
from gahbench_plugins.bases.wavelet import Wavelet


def regular(size=64, count=8, construction="paper"):
    family = gahbench.create("dataset", "c-alpha", alpha=4, size=size, construction=construction)
    return family.images("test", count)


def across(angle, height, width):
    """Return the coordinate of each pixel across a direction, 0 in the middle."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = columns - (width - 1) / 2, (height - 1) / 2 - rows
    return (-math.sin(math.radians(angle)) * x + math.cos(math.radians(angle)) * y).double()


def threshold_energy(coefficients, threshold):
    return coefficients.square().clamp(max=threshold**2).flatten(1).sum(1)


def all_partitions(top, left, side, smallest):
    """Yield all quadtrees as lists of leaves, each with the number of squares that may be split."""
    yield [(top, left, side)], int(side > smallest)
    if side > smallest:
        half = side // 2
        parts = [all_partitions(top + i, left + j, half, smallest) for i in (0, half) for j in (0, half)]
        for choice in itertools.product(*map(list, parts)):
            yield [leaf for leaves, _ in choice for leaf in leaves], 1 + sum(decisions for _, decisions in choice)


@pytest.mark.parametrize("price", [0.0, 0.4])
@pytest.mark.parametrize("moments", [1, 2])
def test_the_chosen_geometry_has_minimum_cost_in_the_dictionary(price, moments):
    threshold, directions = 0.1, 8
    picture = ((across(37, 8, 8) - 0.8).sign() + 0.5 * (across(100, 8, 8) + 1.5).sign()).float() / 4
    picture = picture.double() + 0.05 * images(8, 8)
    best = {}
    angles = {}
    for side in (2, 4, 8):
        # As in the plugin, there is a direction for each of 8 equal arcs; a 2x2 square has only four.
        count = 4 if side == 2 else directions
        degrees = [180 / count * (number + 0.5) for number in range(count)]
        angles[side] = degrees
        for top, left in itertools.product(range(0, 8, side), repeat=2):
            block = picture[top : top + side, left : left + side].flatten()
            costs = [float(block.square().clamp(max=threshold**2).sum()) + price * threshold**2]
            for angle in degrees:
                turned = alpert(block[across(angle, side, side).flatten().argsort(descending=True)], moments)
                bits = 1 + math.log2(len(degrees))
                costs.append(float(turned.square().clamp(max=threshold**2).sum()) + price * bits * threshold**2)
            best[top, left, side] = min(costs)
    totals = [
        sum(best[leaf] for leaf in leaves) + price * decisions * threshold**2
        for leaves, decisions in all_partitions(0, 0, 8, 2)
    ]
    assert len(totals) == 17

    basis = Bandlet(None, smallest=2, largest=8, directions=directions, moments=moments, price=price)
    adapted = basis.adapt(picture[None, None], threshold, noisy=price > 0)
    squares = adapted.squares()
    chosen = float(threshold_energy(adapted.analysis(picture[None, None]), threshold))
    decided = {(0, 0, 8)} | {(s.top // 4 * 4, s.left // 4 * 4, 4) for s in squares if s.side <= 4}
    bits = len(decided) + sum(1 + (math.log2(len(angles[s.side])) if s.angle is not None else 0) for s in squares)
    chosen += price * bits * threshold**2
    # Costs are compared in steps of threshold^2 / 1024, at most 16 + 4 + 1 times.
    assert min(totals) - 1e-9 < chosen < min(totals) + 21 * threshold**2 / 1024
    assert min(totals) < min(totals[0], totals[-1]) - 21 * threshold**2 / 1024 or price > 0


@pytest.mark.parametrize(
    ("size", "sigma", "wavelet"),
    [((64, 64), 0.03, "sym5"), ((20, 36), 0.002, "haar"), ((80, 80), 0.2, "db4")],
)
def test_oracle_risk_is_at_most_the_risk_of_the_wavelet(size, sigma, wavelet):
    height, width = size
    batch = torch.cat([regular(80, 6)[..., :height, :width], regular(80, 4, "exact")[..., :height, :width]])
    batch = torch.cat([batch, 0.2 * images(4, 1, *size).float(), (across(30, *size).sign() / 4)[None, None].float()])
    plain = threshold_energy(Wavelet(wavelet).analysis(batch.double()), sigma)
    for basis in (Bandlet(wavelet), Bandlet(wavelet, largest=8, directions=3, moments=1)):
        adapted = threshold_energy(basis.adapt(batch.double(), sigma).analysis(batch.double()), sigma)
        assert (adapted <= plain * (1 + 1e-9)).all()
    assert adapted.sum() < plain.sum()


@pytest.mark.parametrize("turn", [lambda x: x.rot90(1, (2, 3)), lambda x: x.flip(3), lambda x: x.flip(2)])
def test_rotating_the_image_does_not_change_the_cost(turn):
    threshold = 0.03
    batch = regular(count=4)[..., :32].double()
    basis = Bandlet(None)
    straight = threshold_energy(basis.adapt(batch, threshold).analysis(batch), threshold)
    turned = threshold_energy(basis.adapt(turn(batch), threshold).analysis(turn(batch)), threshold)
    # Costs are rounded to steps.
    assert ((straight - turned).abs() < 16 * threshold**2 / 1024).all()
    assert (straight > 16 * threshold**2).all()


def test_each_image_and_channel_has_a_separate_geometry():
    batch = torch.cat([regular(count=4), regular(count=4).transpose(2, 3)], dim=1).double()
    basis = Bandlet()
    together = basis.adapt(batch, 0.03)
    assert together.squares(0, 0) != together.squares(0, 1)
    for i, channel in itertools.product(range(4), range(2)):
        plane = batch[i : i + 1, channel : channel + 1]
        alone = basis.adapt(plane, 0.03)
        assert alone.squares() == together.squares(i, channel) == basis.geometry(batch[i], 0.03, channel=channel)
        ours = together.analysis(batch)[i : i + 1, channel : channel + 1]
        torch.testing.assert_close(alone.analysis(plane), ours, atol=1e-12, rtol=0)


def test_the_batch_size_does_not_change_the_result(monkeypatch):
    batch = regular(count=3).double()
    whole = Bandlet().adapt(batch, 0.03)
    monkeypatch.setattr(geometry, "BATCH_VALUES", 3000)
    assert all(Bandlet().adapt(batch, 0.03).squares(i) == whole.squares(i) for i in range(3))


def test_threshold_0_selects_no_flow_and_negative_thresholds_are_refused():
    assert all(square.angle is None for square in Bandlet().adapt(regular(count=1), 0.0).squares())
    with pytest.raises(ValueError, match="threshold=-1"):
        Bandlet().adapt(torch.zeros(1, 1, 16, 16), -1.0)
