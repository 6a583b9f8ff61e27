"""Files of weights: where state dicts are found, and what is refused without running code in a file."""

import argparse
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from gahbench._util.errors import ParameterError
from gahbench_plugins.references import weights
from gahbench_plugins.references.weights import read_state, remove_prefixes

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


OTHER = {"a.weight": torch.ones(2, 3)}


@pytest.mark.parametrize(("content", "name"), [
    ({"model": OTHER, "ema": STATE}, "ema"),
    ({"model": {**OTHER, "ema": STATE}}, "model.ema"),
    ({**OTHER, "ema": {"model": STATE, "step": 3}}, "ema.model"),
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
    monkeypatch.setattr(weights, "MAX_BYTES", 100)
    with pytest.raises(ParameterError, match=r"accepted: up to 100"):
        read_state(tmp_path / "a.pt")
