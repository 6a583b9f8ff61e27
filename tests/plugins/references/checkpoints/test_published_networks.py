"""Published weights of IRCNN, DRUNet, and the recurrent and dense networks of Mohan et al. 2020."""

import pytest
import torch
from through_networks import WIDTH, assert_agree, images, ours
from torch.nn import functional

import gahbench
from gahbench_plugins.references._checkpoints.fitting import fitted
from gahbench_plugins.references._checkpoints.reading import read_state


def dilated(draw, channels, prefix):
    """Return a published network of IRCNN, and the function that it computes."""
    _, weights, vector = draw
    state = {}
    for number in range(7):
        inputs, outputs = (channels if number == 0 else WIDTH), (channels if number == 6 else WIDTH)
        state[f"{prefix}model.{2 * number}.weight"] = weights(outputs, inputs, 3)
        state[f"{prefix}model.{2 * number}.bias"] = vector(outputs)

    def denoise(noisy):
        features = noisy
        for number, dilation in enumerate((1, 2, 3, 4, 3, 2, 1)):
            kernel, bias = (state[f"{prefix}model.{2 * number}.{name}"] for name in ("weight", "bias"))
            features = functional.conv2d(features.relu() if number else features, kernel, bias, 1, dilation, dilation)
        return noisy - features

    return state, denoise


@pytest.mark.parametrize("channels", [1, 3])
def test_kair_ircnn_of_one_noise_level(draw, channels):
    noisy = images(channels)
    state, denoise = dilated(draw, channels, "")
    assert_agree(ours("ircnn", state, noisy, width=WIDTH, expect="kair"), denoise(noisy), noisy)


def test_kair_ircnn_has_a_network_for_every_two_noise_levels_of_255(draw, tmp_path):
    noisy = images(1)
    networks = [dilated(draw, 1, "") for _ in range(12)]
    torch.save({str(number): state for number, (state, _) in enumerate(networks)}, tmp_path / "ircnn_gray.pth")
    state = read_state(tmp_path / "ircnn_gray.pth")
    network = gahbench.create("architecture", "ircnn", width=WIDTH, levels=12)
    network.load_state_dict(fitted(state, network, "kair")[0])
    # The published code takes number ceil(level / 2), from 1, and the last for all above.
    numbers = {0.5: 0, 1: 0, 2: 0, 2.1: 1, 4: 1, 4.2: 2, 20: 9, 22: 10, 22.5: 11, 24: 11, 200: 11}
    for level, number in numbers.items():
        with torch.no_grad():
            found = network(noisy, torch.full((2,), level / 255))
        assert_agree(found, networks[number][1](noisy), noisy)
    with torch.no_grad():
        mixed = network(noisy, torch.tensor([20.0, 2.0]) / 255)
    for place, number in enumerate((9, 0)):
        assert_agree(mixed[place : place + 1], networks[number][1](noisy[place : place + 1]), noisy[place : place + 1])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("architecture", "channels"), [("mohan-rcnn", 1), ("mohan-rcnn", 3), ("mohan-densenet", 1)])
def test_mohan_recurrent_and_dense(draw, architecture, channels, bias):
    """Chains of seven convolutions on the noisy image beside what the one before returns."""
    _, weights, vector = draw
    noisy, state = images(channels), {}

    def chain(name, features, outputs, last_bias):
        sizes = [features.shape[1], *[WIDTH] * 6, outputs]
        names = ["first_layer", *(f"hidden_layer_list.{number}" for number in range(5)), "last_layer"]
        for number, layer in enumerate(f"{name}.{layer}" for layer in names):
            kernel = state.setdefault(f"{layer}.weight", weights(sizes[number + 1], sizes[number], 3))
            has_bias = last_bias if number == 6 else bias
            constant = state.setdefault(f"{layer}.bias", vector(sizes[number + 1])) if has_bias else None
            features = functional.conv2d(features.relu() if number else features, kernel, constant, padding=1)
        return features

    if architecture == "mohan-rcnn":
        image = noisy
        for _ in range(4):
            image = chain("cnn", torch.cat([noisy, image], dim=1), channels, last_bias=False)
    else:
        maps = chain("cnn_list.0", noisy, 5, last_bias=bias)
        for number in (1, 2):
            maps = chain(f"cnn_list.{number}", torch.cat([noisy, maps], dim=1), 5, last_bias=bias)
        image = chain("cnn_list.3", torch.cat([noisy, maps], dim=1), channels, last_bias=False)
    assert_agree(ours(architecture, state, noisy, width=WIDTH, bias=bias, expect="same"), image, noisy)


@pytest.mark.extras("deepinv")
@pytest.mark.parametrize("channels", [1, 3])
def test_kair_drunet(draw, channels):
    """Four scales of residual blocks: strided convolutions down, transposed ones up, skips added."""
    _, weights, _ = draw
    # Of a single block KAIR's names have no number.
    noisy, widths, blocks, state = images(channels, 40, 32), (4, 8, 16, 32), 2, {}

    def layer(name, inputs, outputs, side=3):
        kernel = state[f"{name}.weight"] = weights(outputs, inputs, side)
        return kernel

    def block(name, features):
        width = features.shape[1]
        inner = functional.conv2d(features, layer(f"{name}.res.0", width, width), padding=1).relu()
        return features + functional.conv2d(inner, layer(f"{name}.res.2", width, width), padding=1)

    level = torch.full_like(noisy[:, :1], 0.1)
    features = functional.conv2d(torch.cat([noisy, level], 1), layer("m_head", channels + 1, widths[0]), padding=1)
    skips = [features]
    for scale in range(3):
        for number in range(blocks):
            features = block(f"m_down{scale + 1}.{number}", features)
        kernel = layer(f"m_down{scale + 1}.{blocks}", *widths[scale : scale + 2], 2)
        features = functional.conv2d(features, kernel, stride=2)
        skips.append(features)
    for number in range(blocks):
        features = block(f"m_body.{number}", features)
    for scale in (3, 2, 1):
        # Of a transposed convolution the first side of the kernel is that of its input.
        kernel = layer(f"m_up{scale}.0", widths[scale - 1], widths[scale], 2)
        features = functional.conv_transpose2d(features + skips[scale], kernel, stride=2)
        for number in range(blocks):
            features = block(f"m_up{scale}.{number + 1}", features)
    image = functional.conv2d(features + skips[0], layer("m_tail", widths[0], channels), padding=1)
    assert_agree(ours("drunet", state, noisy, width=4, blocks=blocks, expect="same"), image, noisy)
