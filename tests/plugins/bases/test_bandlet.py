"""Bandlets: orthonormal at every size, optimal in their dictionary, and never worse than their wavelet."""

import itertools
import math

import pytest
import torch
from random_images import normal as images

import gahbench
from gahbench_plugins.bases._bandlets import quadtree
from gahbench_plugins.bases._bandlets.alpert import alpert
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
    squares = adapted.geometry().squares
    chosen = float(threshold_energy(adapted.analysis(picture[None, None]), threshold))
    decided = {(0, 0, 8)} | {(s.top // 4 * 4, s.left // 4 * 4, 4) for s in squares if s.side <= 4}
    bits = len(decided) + sum(1 + (math.log2(len(angles[s.side])) if s.angle is not None else 0) for s in squares)
    chosen += price * bits * threshold**2
    # Costs are compared in steps of threshold^2 / 1024, at most 16 + 4 + 1 times.
    assert min(totals) - 1e-9 < chosen < min(totals) + 21 * threshold**2 / 1024
    assert min(totals) < min(totals[0], totals[-1]) - 21 * threshold**2 / 1024 or price > 0


@pytest.mark.parametrize(
    ("size", "sigma", "wavelet"),
    [((64, 64), 0.03, "sym5"), ((20, 36), 0.002, "haar"), ((80, 80), 0.2, "db4"), ((30, 30), 0.03, "haar")],
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


def test_the_oracle_gains_a_decibel_on_regular_images():
    sigma, batch = 8 / 255, regular(count=64)

    def psnr(basis):
        return float(
            (-10 * (threshold_energy(basis.adapt(batch, sigma).analysis(batch), sigma) / 64**2).log10()).mean()
        )

    assert psnr(Bandlet()) > psnr(Wavelet("sym4")) + 1.0
    assert psnr(Bandlet(None)) > psnr(Bandlet())


@pytest.mark.parametrize("construction", ["paper", "exact"])
def test_bandlets_adapted_to_noisy_images_beat_the_wavelet(construction):
    sigma, clean = 0.1, regular(count=64, construction=construction)
    noisy = clean + sigma * images(*clean.shape).float()

    def psnr(basis, factor):
        adapted = basis.adapt(noisy, factor * sigma, noisy=True)
        coefficients = adapted.analysis(noisy)
        kept = (coefficients.abs() > factor * sigma) | (adapted.bands((1, 64, 64)) == 0)
        errors = (adapted.synthesis(coefficients * kept) - clean).square().flatten(1).mean(1)
        return float((-10 * errors.log10()).mean())

    # The wavelet has the best threshold for these images, and bandlets have the default threshold.
    assert psnr(Bandlet(), 3.5) > max(psnr(Wavelet("db4"), factor) for factor in (3, 3.25, 3.5, 3.75, 4)) + 0.5


def angle_between(first, second):
    """Return the angle between two directions, in degrees."""
    return abs((first - second + 90) % 180 - 90)


@pytest.mark.parametrize("angle", [30, 45, 64, 120, 135, 151])
def test_directions_follow_an_edge_in_every_subband(angle):
    edge = (across(angle, 64, 64) > 0).double()
    squares = [square for square in Bandlet().geometry(edge[None], 0.05).squares if square.angle is not None]
    # Near the borders a periodic transform has a jump, and smaller squares have fewer directions.
    finest = [s for s in squares if s.scale == 2 and s.side == 8 and min(s.top, s.left) > 0 and max(s.top, s.left) < 24]
    assert {square.orientation for square in finest} >= {"horizontal", "vertical"}
    assert max(angle_between(square.angle, angle) for square in finest) < 180 / 16


def test_flows_follow_an_edge_and_squares_away_from_it_are_not_split():
    coordinates = across(30, 64, 64)
    edge = torch.sigmoid(4 * coordinates)
    squares = Bandlet(None).geometry(edge[None], 0.02).squares
    assert sum(square.side**2 for square in squares) == 64**2
    for square in squares:
        inside = coordinates[square.top : square.top + square.side, square.left : square.left + square.side]
        top, left = square.top // 16 * 16, square.left // 16 * 16
        if inside.min() < -2 and inside.max() > 2:
            assert angle_between(square.angle, 30) < 180 / 32
        elif coordinates[top : top + 16, left : left + 16].abs().min() > 3:
            assert square.side == 16


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


def test_with_an_expensive_geometry_bandlets_are_the_wavelet():
    batch = regular(count=3)
    expensive = Bandlet("sym5", price=1e6)
    assert torch.equal(expensive.adapt(batch, 0.1, noisy=True).analysis(batch), Wavelet("sym5").analysis(batch))
    assert not torch.equal(expensive.adapt(batch, 0.1).analysis(batch), Wavelet("sym5").analysis(batch))


def test_bands_equal_the_bands_of_the_wavelet():
    batch = regular(count=2)
    adapted = Bandlet("sym5", levels=3).adapt(batch, 0.03)
    labels = adapted.bands((1, 64, 64))
    assert torch.equal(labels, Wavelet("sym5", 3).bands((1, 64, 64)))
    ours, theirs = adapted.analysis(batch), Wavelet("sym5", 3).analysis(batch)
    assert torch.equal(ours[..., labels == 0], theirs[..., labels == 0])
    for band in range(1, 10):
        energies = [c[..., labels == band].square().sum() for c in (ours, theirs)]
        torch.testing.assert_close(*energies)
    assert Bandlet(None).bands((3, 7, 9)).unique().tolist() == [1]


def test_the_geometry_locates_squares_in_the_image():
    # An edge only in the lower right quarter, which fades towards the sides of the quarter.
    window = torch.hann_window(32, periodic=False, dtype=torch.float64)
    picture = torch.zeros(64, 64, dtype=torch.float64)
    picture[32:, 32:] = torch.sigmoid(4 * across(151, 32, 32)) * window[:, None] * window
    geometry = Bandlet("db2").geometry(picture[None], 0.05)
    finest = [square for square in geometry.squares if square.angle is not None and square.scale == 2]
    assert finest
    for square in finest:
        top, left, side = square.pixels
        assert (top, left, side) == (2 * square.top, 2 * square.left, 2 * square.side)
        assert min(top, left) + side > 32
        assert max(top, left) + side <= 64
    # Only the subband of horizontal structures contains a horizontal edge.
    edge = torch.zeros(1, 64, 64)
    edge[:, 21:50] = 1
    seen = {square.orientation for square in Bandlet("haar").geometry(edge, 0.05).squares if square.angle is not None}
    assert seen == {"horizontal"}


def test_each_image_and_channel_has_a_separate_geometry():
    batch = torch.cat([regular(count=4), regular(count=4).transpose(2, 3)], dim=1).double()
    basis = Bandlet()
    together = basis.adapt(batch, 0.03)
    assert together.geometry(0, 0) != together.geometry(0, 1)
    for i, channel in itertools.product(range(4), range(2)):
        plane = batch[i : i + 1, channel : channel + 1]
        alone = basis.adapt(plane, 0.03)
        assert alone.geometry() == together.geometry(i, channel) == basis.geometry(batch[i], 0.03, channel=channel)
        ours = together.analysis(batch)[i : i + 1, channel : channel + 1]
        torch.testing.assert_close(alone.analysis(plane), ours, atol=1e-12, rtol=0)


def test_bandlets_of_one_image_transform_many_images():
    batch = regular(count=3)
    once = Bandlet().adapt(batch[:1], 0.03)
    copies = Bandlet().adapt(batch[:1].expand(3, 1, 64, 64), 0.03)
    assert torch.equal(once.analysis(batch), copies.analysis(batch))
    torch.testing.assert_close(once.synthesis(once.analysis(batch)), batch, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="accepted: 3 arrays of shape"):
        copies.analysis(batch[:2])
    with pytest.raises(
        ValueError, match=r"accepted: any number of arrays of shape \(1, 64, 64\), not \(1, 1, 64, 32\)"
    ):
        once.analysis(batch[:1, :, :, :32])


def test_threshold_0_selects_no_flow_and_negative_thresholds_are_refused():
    adapted = Bandlet().adapt(regular(count=1), 0.0)
    assert all(square.angle is None for square in adapted.geometry().squares)
    with pytest.raises(ValueError, match="threshold=-1"):
        Bandlet().adapt(torch.zeros(1, 1, 16, 16), -1.0)


def test_the_batch_size_does_not_change_the_result(monkeypatch):
    batch = regular(count=3).double()
    whole = Bandlet().adapt(batch, 0.03)
    monkeypatch.setattr(quadtree, "BATCH_VALUES", 3000)
    assert all(Bandlet().adapt(batch, 0.03).geometry(i) == whole.geometry(i) for i in range(3))


def test_sides_that_can_be_halved_only_once_are_as_good_as_other_sides():
    """At 50 pixels a single level of wavelets would keep a quarter of the noise."""
    sigma, result = 0.1, []
    for size in (50, 48):
        family = gahbench.create("dataset", f"c-alpha[alpha=2,size={size}]")
        clean = family.images("test", 8)
        noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        adapted = Bandlet().adapt(noisy, 3.25 * sigma, noisy=True)
        coefficients = adapted.analysis(noisy)
        levels = sigma * adapted.noise_levels(family.shape)
        kept = (coefficients.abs() > 3.25 * levels) | (adapted.bands(family.shape) == 0)
        result.append(-10 * (adapted.synthesis(coefficients * kept) - clean).square().mean().log10())
    assert abs(result[0] - result[1]) < 1.5
