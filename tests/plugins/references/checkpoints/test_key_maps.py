"""Random weights in published formats: our networks compared with published networks in torch.nn.functional."""

import pytest
import torch
from torch.nn import functional

import gahbench
from gahbench import ParameterError
from gahbench_plugins.references._checkpoints.fitting import fit_weights
from gahbench_plugins.references._checkpoints.reading import read_part

WIDTH = 6


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(0)

    def positive(*shape):
        return 0.5 + torch.rand(*shape, generator=generator)

    def weights(outputs, inputs, side):
        # A variance of 2 / inputs preserves the variance of features, so differences in all layers are visible.
        deviation = (2 / (inputs * side**2)) ** 0.5
        return deviation * torch.randn(outputs, inputs, side, side, generator=generator)

    def vector(count):
        return 0.3 * torch.randn(count, generator=generator)

    return positive, weights, vector


def ours(architecture, state, noisy, sigma=0.1, keys="auto", expect=None, **parameters):
    network = gahbench.create("architecture", architecture, channels=noisy.shape[1], **parameters)
    fit = fit_weights(state, network, keys)
    assert expect in (None, fit.keys)
    network.load_state_dict(fit.state)
    with torch.no_grad():
        result = network.eval()(noisy, torch.full((len(noisy),), sigma))
    return noisy - result if fit.output == "residual" else result


def images(channels, height=17, width=20):
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(1))


def assert_agree(result, expected, noisy):
    residual = (expected - noisy).norm()
    assert residual > 0.05 * noisy.norm()
    assert (result - expected).norm() < 1e-5 * residual


def bias_free_chain(draw, noisy, layers, *, first_relu=True, side=lambda number: 3):
    """Return the kernels of a chain, the gains and deviations of its normalisations, and the image that it returns."""
    positive, weights, _ = draw
    kernels, norms = [weights(WIDTH, noisy.shape[1], 3)], []
    features = functional.conv2d(noisy, kernels[0], padding=1)
    features = features.relu() if first_relu else features
    for number in range(1, layers - 1):
        kernels.append(weights(WIDTH, WIDTH, side(number)))
        gain, deviation = positive(1, WIDTH, 1, 1), positive(1, WIDTH, 1, 1)
        norms.append((gain, deviation))
        features = functional.conv2d(features, kernels[-1], padding=side(number) // 2) / deviation * gain
        features = features.relu()
    kernels.append(weights(noisy.shape[1], WIDTH, 3))
    return kernels, norms, noisy - functional.conv2d(features, kernels[-1], padding=1)


def refused(architecture, state, keys="auto", **parameters):
    network = gahbench.create("architecture", architecture, **parameters)
    with pytest.raises(ParameterError) as error:
        fit_weights(state, network, keys)
    return str(error.value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("architecture", ["dncnn", "bf-cnn"])
def test_mohan_dncnn_without_bias(draw, channels, architecture):
    noisy = images(channels)
    (first, *kernels, last), norms, expected = bias_free_chain(draw, noisy, 13)
    state = {"first_layer.weight": first, "last_layer.weight": last}
    # The file contains biases and running means, but the published layer does not use them.
    unused = {"bias": torch.zeros(WIDTH), "running_mean": torch.zeros(WIDTH), "num_batches_tracked": torch.tensor(0)}
    for number, (kernel, (gain, deviation)) in enumerate(zip(kernels, norms, strict=True)):
        norm = {"weight": gain.flatten(), "running_var": (deviation.flatten() - 1e-5).square(), **unused}
        state |= {f"bn_layer_list.{number}.{name}": value for name, value in norm.items()}
        state[f"hidden_layer_list.{number}.weight"] = kernel
    result = ours(architecture, state, noisy, width=WIDTH, layers=13, bias=False, expect="mohan-dncnn")
    assert_agree(result, expected, noisy)


def biased_chain(draw, channels, epsilon, noisy, layers, norm=True):
    """Return the published layers in order, each a dictionary of tensors, and the chain's output, the noise."""
    positive, weights, vector = draw
    result, features = [], noisy
    for number in range(layers):
        last = number == layers - 1
        inputs, outputs = (channels if number == 0 else WIDTH), (channels if last else WIDTH)
        layer = {"weight": weights(outputs, inputs, 3), "bias": vector(outputs)}
        result.append(layer)
        features = functional.conv2d(features, layer["weight"], layer["bias"], padding=1)
        if norm and 0 < number < layers - 1:
            # Variances as small as the epsilons, so that these matter.
            batch = {
                "weight": positive(WIDTH) * 1e-2,
                "bias": vector(WIDTH),
                "running_mean": vector(WIDTH),
                "running_var": positive(WIDTH) * 1e-4,
            }
            result.append(batch)
            names = ("running_mean", "running_var", "weight", "bias")
            features = functional.batch_norm(features, *(batch[name] for name in names), eps=epsilon)
        features = features if last else features.relu()
    return result, features


def test_mohan_dncnn_with_bias(draw):
    noisy = images(1)
    layers, estimate = biased_chain(draw, 1, 1e-5, noisy, 6)
    names = ["first_layer"]
    names += [f"{kind}_list.{number}" for number in range(4) for kind in ("hidden_layer", "bn_layer")]
    names += ["last_layer"]
    state = {f"{name}.{key}": value for name, layer in zip(names, layers, strict=True) for key, value in layer.items()}
    assert_agree(
        ours("dncnn", state, noisy, width=WIDTH, layers=6, bias=True, expect="mohan-dncnn"), noisy - estimate, noisy
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("prefix", ["model.", "module.model.", ""])
def test_kair_dncnn(draw, channels, norm, prefix):
    noisy = images(channels)
    layers, estimate = biased_chain(draw, channels, 1e-4, noisy, 5, norm)
    state, index = {}, 0
    for number, layer in enumerate(layers):
        state |= {f"{prefix}{index}.{key}": value for key, value in layer.items()}
        # A ReLU follows, unless a normalisation does.
        index += 1 if number + 1 < len(layers) and "running_var" in layers[number + 1] else 2
    # If normalisations are merged, layers are numbered like those of dncnn.
    expect = "kair" if norm or prefix else "same"
    result = ours("dncnn", state, noisy, width=WIDTH, layers=5, norm=norm, expect=expect)
    assert_agree(result, noisy - estimate, noisy)


def noise_level_chain(draw, features, outputs):
    """Return the names and weights of a chain of KAIR with a map of the noise level, 0.1, and the chain's output."""
    _, weights, vector = draw
    features = torch.cat([features, torch.full_like(features[:, :1], 0.1)], dim=1)
    state = {}
    for index, (count, inputs) in enumerate([(WIDTH, features.shape[1]), (WIDTH, WIDTH), (outputs, WIDTH)]):
        kernel, bias = weights(count, inputs, 3), vector(count)
        state |= {f"model.{2 * index}.weight": kernel, f"model.{2 * index}.bias": bias}
        features = functional.conv2d(features.relu() if index else features, kernel, bias, padding=1)
    return state, features


@pytest.mark.parametrize("channels", [1, 3])
def test_kair_ffdnet_and_fdncnn_estimate_the_image(draw, channels):
    noisy = images(channels, 18, 20)
    state, cells = noise_level_chain(draw, functional.pixel_unshuffle(noisy, 2), 4 * channels)
    result = ours("ffdnet", state, noisy, width=WIDTH, layers=3, norm=False, expect="kair")
    assert_agree(result, functional.pixel_shuffle(cells, 2), noisy)
    state, image = noise_level_chain(draw, noisy, channels)
    result = ours("dncnn", state, noisy, width=WIDTH, layers=3, norm=False, blind=False, expect="kair")
    assert_agree(result, image, noisy)


@pytest.mark.parametrize("prefix", ["", "layers.", "module.layers.", "module.", "_orig_mod.module."])
def test_own_networks_estimate_the_noise_for_every_saved_part(draw, prefix):
    noisy = images(1, 18, 20)
    state, cells = noise_level_chain(draw, functional.pixel_unshuffle(noisy, 2), 4)
    state = {name.replace("model.", prefix): tensor for name, tensor in state.items()}
    result = ours("ffdnet", state, noisy, width=WIDTH, layers=3, norm=False, expect="same")
    assert_agree(noisy - result, functional.pixel_shuffle(cells, 2), noisy)


@pytest.mark.parametrize("spacing", [1, 2, 20])
def test_kadkhodaie_cnn(draw, spacing):
    noisy = images(1)
    kernels, norms, expected = bias_free_chain(
        draw, noisy, 21, first_relu=False, side=lambda number: 1 if number % spacing else 3
    )
    state = {f"conv_layers.{number}.weight": kernel for number, kernel in enumerate(kernels)}
    for number, (gain, deviation) in enumerate(norms):
        state |= {f"BN_layers.{number}.gammas": gain, f"BN_layers.{number}.running_sd": deviation}
    result = ours("bf-cnn-rf", state, noisy, width=WIDTH, spacing=spacing, expect="kadkhodaie-cnn")
    assert_agree(result, expected, noisy)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_kadkhodaie_cnn_2021(draw, channels, prefix):
    noisy = images(channels)
    kernels, norms, expected = bias_free_chain(draw, noisy, 13)
    state = {f"{prefix}conv_layers.{number}.weight": kernel for number, kernel in enumerate(kernels)}
    for number, (gain, deviation) in enumerate(norms):
        state |= {f"{prefix}running_sd.{number}": deviation, f"{prefix}gammas.{number}": gain}
    result = ours("bf-cnn", state, noisy, width=WIDTH, layers=13, expect="kadkhodaie-cnn-2021")
    assert_agree(result, expected, noisy)
    message = refused("bf-cnn-rf", state, channels=channels, width=WIDTH, layers=13)
    assert message.endswith(
        "a ReLU follows the first convolution of the published network, as in bf-cnn, but not of this network"
    )


def test_kadkhodaie_unet(draw):
    """The published UNet has two levels, and its blocks of two convolutions are numbered by level."""
    positive, weights, _ = draw
    noisy = images(1, 16, 20)
    state = {}

    def layer(name, index, features, outputs, norm=True, relu=True):
        kernel = state[f"{name}.{index}.weight"] = weights(outputs, features.shape[1], 3)
        features = functional.conv2d(features, kernel, padding=1)
        if norm:
            gain = state[f"{name}.{index + 1}.gammas"] = positive(1, outputs, 1, 1)
            deviation = state[f"{name}.{index + 1}.running_sd"] = positive(1, outputs, 1, 1)
            features = features / deviation * gain
        return features.relu() if relu else features

    def up(level, features):
        kernel = weights(features.shape[1], features.shape[1] // 2, 2)
        state[f"upsample.{level}.weight"] = kernel
        return functional.conv_transpose2d(features, kernel, stride=2)

    first = layer("encoder.0", 2, layer("encoder.0", 0, noisy, WIDTH, norm=False), WIDTH)
    second = functional.avg_pool2d(first, 2)
    second = layer("encoder.1", 3, layer("encoder.1", 0, second, 2 * WIDTH), 2 * WIDTH)
    features = functional.avg_pool2d(second, 2)
    features = layer("mid_block", 3, layer("mid_block", 0, features, 4 * WIDTH), 4 * WIDTH)
    features = torch.cat([up(1, features), second], dim=1)
    features = layer("decoder.1", 3, layer("decoder.1", 0, features, 2 * WIDTH), 2 * WIDTH)
    features = torch.cat([up(0, features), first], dim=1)
    features = layer("decoder.0", 3, layer("decoder.0", 0, features, WIDTH), 1, norm=False, relu=False)
    result = ours("unet", state, noisy, width=WIDTH, levels=2, expect="kadkhodaie-unet")
    assert_agree(result, noisy - features, noisy)


def test_no_key_map_is_used_if_keys_fit():
    """Layers in a plain sequence are numbered as in KAIR, whose normalisations have another epsilon."""
    noisy = images(1)
    network = gahbench.create("architecture", "dncnn", width=WIDTH, layers=5).eval()
    for name, tensor in network.state_dict().items():
        if name.endswith("running_var"):
            tensor.fill_(1e-4)
    with torch.no_grad():
        expected = network(noisy, torch.ones(2))
    result = ours("dncnn", network.layers.state_dict(), noisy, width=WIDTH, layers=5, expect="same")
    assert torch.equal(result, expected)
    with torch.no_grad():
        other = ours("dncnn", network.layers.state_dict(), noisy, keys="kair", width=WIDTH, layers=5, expect="kair")
    assert not torch.allclose(other, expected, rtol=1e-3)


def weights_of(architecture, **parameters):
    return gahbench.create("architecture", architecture, **parameters).state_dict()


def test_mismatches_name_the_map_and_the_first_differences():
    small, large = ({"width": width, "layers": 5} for width in (4, 6))
    message = refused("bf-cnn", weights_of("bf-cnn", **small), **large)
    assert message.startswith("with its keys read as 'same', ")
    assert "layers.0.weight has shape (4, 1, 3, 3), and (6, 1, 3, 3) in the network" in message
    assert message.endswith("and 8 more")

    other = {**weights_of("bf-cnn", **small), "other.weight": torch.zeros(3)}
    del other["layers.0.weight"]
    message = refused("bf-cnn", other, **small)
    assert "it lacks layers.0.weight (4, 1, 3, 3)" in message
    assert "the network has no other.weight (3,)" in message


def test_mismatches_of_chains_are_reported_by_convolution(draw):
    _, weights, _ = draw
    kair = {f"model.{2 * index}.weight": weights(4, 4, 3) for index in range(3)}
    message = refused("dncnn", kair, width=4, layers=4, norm=False)
    named = "named as those of DnCNN, FDnCNN, FFDNet and IRCNN of KAIR"
    assert message == f"with its keys read as 'kair', {named}, the file has 3 convolutions, and the network 4"
    message = refused("dncnn", kair, width=4, layers=3)
    assert message.endswith("after convolution 2 the file has no normalisation, and the network batch normalisation")
    kair |= {"model.2.bias": torch.zeros(4)}
    assert "the network has no layers.2.bias (4,)" in refused("dncnn", kair, width=4, layers=3, norm=False, bias=False)


def test_a_requested_key_map_must_apply():
    message = refused("bf-cnn", weights_of("bf-cnn", width=4, layers=3), "mohan-dncnn", width=4, layers=3)
    assert message.startswith("its keys are not those of 'mohan-dncnn': layers.0.weight (4, 1, 3, 3)")
    message = refused("bf-cnn", {"first_layer.weight": torch.zeros(4, 1, 3, 3)}, width=4, layers=3)
    assert "it lacks 'last_layer.weight'; it has first_layer.weight (4, 1, 3, 3)" in message


@pytest.mark.parametrize(("changes", "message"), [
    ({"layers.0.bias": torch.zeros(2).long()}, "layers.0.bias holds int64, and the network float32"),
    ({"layers.0.bias": torch.zeros(2) / 0}, "layers.0.bias holds numbers that are infinite or NaN"),
    ({"layers.0.bias": torch.ones(2) / 0}, "layers.0.bias holds numbers that are infinite or NaN"),
    ({"x\n" * 500: torch.zeros(1)}, "the network has no x x x"),
])  # fmt: skip
def test_invalid_weights_are_refused_by_name(changes, message):
    result = refused("dncnn", weights_of("dncnn", width=2, layers=3) | changes, width=2, layers=3)
    assert message in result
    assert len(result) < 1000
    assert "\n" not in result


@pytest.mark.parametrize(("keys", "names"), [
    *(("kadkhodaie-unet", ["mid_block.0.weight", name]) for name in ("middle.0.weight", "decoder.x.weight", "decoder")),
    ("kair", ["9" * 5000 + ".weight"]),
    ("kair", ["0.weight", "2.weight", "2.running_var"]),
    ("mohan-dncnn", ["first_layer.weight"]),
])  # fmt: skip
def test_names_that_only_resemble_published_code_are_refused(keys, names):
    message = refused("unet", {name: torch.zeros(1, 1, 3, 3) for name in names}, keys, width=2, levels=1)
    assert keys in message
    assert len(message) < 2000


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
    state = read_part(tmp_path / "ircnn_gray.pth").state
    network = gahbench.create("architecture", "ircnn", width=WIDTH, levels=12)
    network.load_state_dict(fit_weights(state, network, "kair")[0])
    # The published code uses network number ceil(level / 2), counted from 1, and the last network for higher levels.
    numbers = {0.5: 0, 1: 0, 2: 0, 2.1: 1, 4: 1, 4.2: 2, 20: 9, 22: 10, 22.5: 11, 24: 11, 200: 11}
    for level, number in numbers.items():
        with torch.no_grad():
            result = network(noisy, torch.full((2,), level / 255))
        assert_agree(result, networks[number][1](noisy), noisy)
    with torch.no_grad():
        mixed = network(noisy, torch.tensor([20.0, 2.0]) / 255)
    for index, number in enumerate((9, 0)):
        assert_agree(mixed[index : index + 1], networks[number][1](noisy[index : index + 1]), noisy[index : index + 1])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("architecture", "channels"), [("mohan-rcnn", 1), ("mohan-rcnn", 3), ("mohan-densenet", 1)])
def test_mohan_recurrent_and_dense(draw, architecture, channels, bias):
    """Chains of seven convolutions on the noisy image concatenated with the output of the previous chain."""
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
    """Four scales of residual blocks, strided and transposed convolutions, and additive skips."""
    _, weights, _ = draw
    # Names of KAIR have no number for a single block.
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
        # The first axis of the kernel of a transposed convolution is the input channel.
        kernel = layer(f"m_up{scale}.0", widths[scale - 1], widths[scale], 2)
        features = functional.conv_transpose2d(features + skips[scale], kernel, stride=2)
        for number in range(blocks):
            features = block(f"m_up{scale}.{number + 1}", features)
    image = functional.conv2d(features + skips[0], layer("m_tail", widths[0], channels), padding=1)
    assert_agree(ours("drunet", state, noisy, width=4, blocks=blocks, expect="same"), image, noisy)
