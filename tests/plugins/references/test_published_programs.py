"""Random weights in published formats: our networks compared with published networks in torch.nn.functional."""

import pytest
import torch
from torch.nn import functional

import gahbench
from gahbench import ParameterError
from gahbench_plugins.references.published import load_weights

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
    scheme, output, _ = load_weights(network, state, keys)
    assert expect in (None, scheme)
    with torch.no_grad():
        result = network.eval()(noisy, torch.full((len(noisy),), sigma))
    return noisy - result if output == "residual" else result


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
        load_weights(network, state, keys)
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
    assert "a ReLU follows the first convolution" in refused(
        "bf-cnn-rf", state, channels=channels, width=WIDTH, layers=13
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


CHAIN = {f"model.{2 * index}.weight": torch.ones(4, 4, 3, 3) for index in range(3)}
OTHER = weights_of("bf-cnn", width=4, layers=3)
PUBLISHED = ("mid_block.0.weight", "encoder.0.0.weight")


@pytest.mark.parametrize(("state", "architecture", "keys", "names"), [
    (OTHER, "bf-cnn[width=6,layers=3]", "auto", ["same", "layers.0.weight"]),
    (OTHER, "bf-cnn[width=4,layers=3]", "mohan-dncnn", ["mohan-dncnn", "layers.0.weight"]),
    (CHAIN, "dncnn[width=4,layers=4,norm=false]", "auto", ["kair", "has 3 convolutions, and the network 4"]),
    (CHAIN, "dncnn[width=4,layers=3]", "auto", ["kair", "running_mean"]),
    ({"first_layer.weight": torch.ones(4, 1, 3, 3)}, "bf-cnn", "auto", ["mohan-dncnn", "lacks 'last_layer.weight'"]),
    ({"x\n" * 500: torch.ones(1)}, "bf-cnn", "auto", ["x"]),
    *((dict.fromkeys((*PUBLISHED, other), torch.zeros(1, 1, 3, 3)), "unet", "kadkhodaie-unet", ["kadkhodaie-unet"])
      for other in ("middle.0.weight", "decoder.x.weight", "decoder")),
    (dict.fromkeys(["9" * 5000 + ".weight"], torch.zeros(1, 1, 3, 3)), "dncnn", "kair", ["kair"]),
])  # fmt: skip
def test_weights_that_do_not_fit_are_refused_by_their_naming_scheme_and_name(state, architecture, keys, names):
    message = refused(architecture, state, keys)
    assert all(name in message for name in names)
    assert len(message) < 1000
    assert "\n" not in message


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_mohan_recurrent(draw, channels, bias):
    """A chain of seven convolutions on the noisy image concatenated with its previous output."""
    _, weights, vector = draw
    image = noisy = images(channels)
    sizes, state = [2 * channels, *[WIDTH] * 6, channels], {}
    layers = ["cnn.first_layer", *(f"cnn.hidden_layer_list.{number}" for number in range(5)), "cnn.last_layer"]
    for _ in range(4):
        features = torch.cat([noisy, image], dim=1)
        for number, layer in enumerate(layers):
            kernel = state.setdefault(f"{layer}.weight", weights(sizes[number + 1], sizes[number], 3))
            has_bias = bias and number < 6
            constant = state.setdefault(f"{layer}.bias", vector(sizes[number + 1])) if has_bias else None
            features = functional.conv2d(features.relu() if number else features, kernel, constant, padding=1)
        image = features
    assert_agree(ours("mohan-rcnn", state, noisy, width=WIDTH, bias=bias, expect="same"), image, noisy)
