"""Files of weights: where state dicts are found, and what is refused without running code in a file.

Networks with random weights in published formats are compared with published networks in torch.nn.functional.
"""

import argparse
import os
import pickle
import zipfile

import pytest
import torch
from published_unet import PublishedUNet
from safetensors.torch import save_file
from torch.nn import functional

import gahbench
from gahbench import ParameterError
from gahbench_plugins.references import weights as module
from gahbench_plugins.references.published import load_weights
from gahbench_plugins.references.weights import read_state, remove_prefixes

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


def name_mohan(layers):
    return ["first_layer", *(f"hidden_layer_list.{number}" for number in range(layers - 2)), "last_layer"]


def mohan_norm(number, gain, deviation):
    # The file contains biases and running means, but the published layer does not use them.
    unused = {"bias": torch.zeros(WIDTH), "running_mean": torch.zeros(WIDTH), "num_batches_tracked": torch.tensor(0)}
    norm = {"weight": gain.flatten(), "running_var": (deviation.flatten() - 1e-5).square(), **unused}
    return {f"bn_layer_list.{number}.{name}": value for name, value in norm.items()}


def kadkhodaie_norm(number, gain, deviation):
    return {f"BN_layers.{number}.gammas": gain, f"BN_layers.{number}.running_sd": deviation}


def kadkhodaie_norm_2021(number, gain, deviation):
    return {f"running_sd.{number}": deviation, f"gammas.{number}": gain}


def name_kadkhodaie(layers):
    return [f"conv_layers.{number}" for number in range(layers)]


@pytest.mark.parametrize(("architecture", "channels", "parameters", "names", "norm", "prefix", "scheme"), [
    *((name, channels, {"layers": 13, "bias": False}, name_mohan, mohan_norm, "", "mohan-dncnn")
      for name in ("dncnn", "bf-cnn") for channels in (1, 3)),
    *(("bf-cnn-rf", 1, {"spacing": spacing}, name_kadkhodaie, kadkhodaie_norm, "", "kadkhodaie-cnn")
      for spacing in (1, 2, 20)),
    *(("bf-cnn", channels, {"layers": 13}, name_kadkhodaie, kadkhodaie_norm_2021, prefix, "kadkhodaie-cnn-2021")
      for channels in (1, 3) for prefix in ("", "module.")),
])  # fmt: skip
def test_chains_without_bias(draw, architecture, channels, parameters, names, norm, prefix, scheme):
    noisy, layers, spacing = images(channels), parameters.get("layers", 21), parameters.get("spacing", 1)
    kernels, norms, expected = bias_free_chain(
        draw, noisy, layers, first_relu="spacing" not in parameters, side=lambda number: 1 if number % spacing else 3
    )
    state = {f"{prefix}{name}.weight": kernel for name, kernel in zip(names(layers), kernels, strict=True)}
    for number, each in enumerate(norms):
        state |= {prefix + name: value for name, value in norm(number, *each).items()}
    assert_agree(ours(architecture, state, noisy, width=WIDTH, expect=scheme, **parameters), expected, noisy)
    if scheme == "kadkhodaie-cnn-2021":
        message = refused("bf-cnn-rf", state, channels=channels, width=WIDTH, layers=13)
        assert "a ReLU follows the first convolution" in message


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


def test_kadkhodaie_unet():
    network, noisy = PublishedUNet(WIDTH, levels=2), images(1, 16, 20)
    network.decoder["0"][-1].weight.data.mul_(50)
    result = ours("unet", network.state_dict(), noisy, width=WIDTH, levels=2, expect="kadkhodaie-unet")
    with torch.no_grad():
        assert_agree(result, noisy - network(noisy), noisy)


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


STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.count": torch.tensor(3)}


def same(result, expected=STATE):
    return result.keys() == expected.keys() and all(torch.equal(result[name], expected[name]) for name in expected)


@pytest.mark.parametrize("content", [
    STATE,
    {"state_dict": STATE, "epoch": 3},
    {"model": [STATE], "args": argparse.Namespace(layers=20), "optimizer": None},
    {"model_state_dict": STATE, "loss": torch.tensor(0.5)},
    {"ema": {"model": STATE}, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}},
    {"net": (STATE,)},
    [None, STATE],
    {"a.weight": STATE["a.weight"], "epoch": 3, "b.count": STATE["b.count"]},
])  # fmt: skip
@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts_are_found_where_programs_keep_them(tmp_path, content, zipped):
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert same(read_state(tmp_path / "x.pt")[0])


UNAVERAGED = {"a.weight": torch.ones(2, 3)}


@pytest.mark.parametrize(("content", "name"), [
    ({"model": UNAVERAGED, "ema": STATE}, "ema"),
    ({"model": {**UNAVERAGED, "ema": STATE}}, "model.ema"),
    ({**UNAVERAGED, "ema": {"model": STATE, "step": 3}}, "ema.model"),
    ({"model": STATE, "loss": torch.tensor(0.5), "sigmas": torch.ones(9)}, ""),
])  # fmt: skip
def test_averaged_weights_are_preferred_and_named(tmp_path, content, name):
    torch.save(content, tmp_path / "x.pt")
    state, part = read_state(tmp_path / "x.pt")
    assert part == name
    assert same(state)


def test_safetensors_are_recognised_by_their_content(tmp_path):
    save_file(STATE, tmp_path / "x.bin")
    assert same(read_state(tmp_path / "x.bin")[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_counts_stay(tmp_path, dtype):
    torch.save({"a.weight": STATE["a.weight"].to(dtype), "b.count": STATE["b.count"]}, tmp_path / "x.pt")
    result, _ = read_state(tmp_path / "x.pt")
    assert same(result)
    assert result["a.weight"].dtype == torch.float32
    assert result["b.count"].dtype == torch.int64


class Malicious:
    """An object that makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("plain", [True, False])
def test_code_in_a_file_is_not_run(tmp_path, plain):
    content = {"extra": Malicious(str(tmp_path / "made"))}
    if plain:
        (tmp_path / "x.pt").write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save({"state_dict": STATE, **content}, tmp_path / "x.pt")
    with pytest.raises(ParameterError, match=r"it holds posix\.mkdir"):
        read_state(tmp_path / "x.pt")
    assert not (tmp_path / "made").exists()
    # Other readers would run code in the file.
    if plain:
        pickle.loads((tmp_path / "x.pt").read_bytes())
        assert (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [
    {"epoch": 3, "name": "x"}, torch.zeros(3), torch.nn.Conv2d(1, 1, 3), {1: torch.zeros(2), "1": torch.ones(2)},
    *({**STATE, "odd": odd} for odd in (
        torch.zeros(1) / 0, torch.eye(3) * 1j, torch.zeros(1).expand(10**6, 10**6), torch.empty(3, device="meta"),
        torch.eye(3).to_sparse())),
    None, b"", b"hello, world", b"i am no checkpoint", b"PK\x03\x04 cut off",
    # Headers that claim data beyond the end of the file.
    (10**9).to_bytes(8, "little") + b"{}",
    b"K" + bytes(7) + b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000]}} ',
])  # fmt: skip
def test_files_without_plain_weights_are_refused(tmp_path, content):
    if isinstance(content, bytes):
        (tmp_path / "x.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ParameterError, match=r"x\.pt: ") as error:
        read_state(tmp_path / "x.pt")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700


def test_shared_prefixes_are_removed_one_after_the_other():
    names = [set(state) for state in remove_prefixes({"model.net.a": torch.zeros(1), "model.net.b": torch.zeros(1)})]
    assert names == [{"model.net.a", "model.net.b"}, {"net.a", "net.b"}, {"a", "b"}]
    assert len(list(remove_prefixes({"module.a": torch.zeros(1), "b": torch.zeros(1)}))) == 1
    (*_, last) = remove_prefixes({"module." * 10_000 + "a": torch.zeros(1)})
    assert list(last) == ["module." * 9_997 + "a"]


def test_programs_and_compressed_files_are_refused(tmp_path):
    traced = torch.jit.trace(torch.nn.Conv2d(1, 1, 3), torch.zeros(1, 1, 8, 8))
    torch.jit.save(traced, tmp_path / "x.pt")
    with pytest.raises(ParameterError, match="it is a TorchScript program"):
        read_state(tmp_path / "x.pt")
    torch.save(STATE, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive, zipfile.ZipFile(tmp_path / "b.pt", "w", 8) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(ParameterError, match="torch never compresses records"):
        read_state(tmp_path / "b.pt")


def test_files_that_are_not_regular_or_too_large_are_refused_without_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "x.pt")
    with pytest.raises(ParameterError, match="regular file"):
        read_state(tmp_path / "x.pt")
    torch.save(STATE, tmp_path / "a.pt")
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    with pytest.raises(ParameterError, match=r"accepted: up to 100"):
        read_state(tmp_path / "a.pt")
