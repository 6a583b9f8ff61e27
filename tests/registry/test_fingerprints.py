"""What a plugin reads itself is in its keys, if it says so."""

import pytest

from gahbench._util.errors import ParameterError, PluginError
from gahbench._util.keys import key_of
from gahbench.registry.registry import Registry

PLUGIN = '''"""Plugins that read a table beside them."""
import hashlib
from pathlib import Path
from typing import Annotated
import gahbench
from torch import nn


@gahbench.hookimpl
def register_references(register):
    register("mine", Denoiser)
    register("asks", Asks)


@gahbench.hookimpl
def register_bases(register):
    register("mine", Frame)


@gahbench.hookimpl
def register_metrics(register):
    register("mine", Measure)


@gahbench.hookimpl
def register_architectures(register):
    register("mine", Network)


@gahbench.hookimpl
def register_datasets(register):
    register("mine", Family)


class Reads:
    def __init__(self, table: str = "table.txt"):
        self.table = table

    def fingerprint(self):
        {body}


class Denoiser(Reads, gahbench.Reference):
    """Reads a table."""

    def denoise(self, noisy, sigma, truth):
        return noisy


class Frame(Reads, gahbench.Basis):
    """Reads a table."""

    def analysis(self, images):
        return images

    synthesis = analysis


class Measure(Reads, gahbench.Metric):
    """Reads a table."""

    def score(self, evaluation):
        return gahbench.Scores([])


class Family(Reads, gahbench.Dataset):
    """Reads a table."""

    shape = (1, 8, 8)

    def images(self, split, count, start=0):
        raise NotImplementedError


class Network(nn.Module):
    """Reads a table."""

    def __init__(self, table: str = "table.txt"):
        super().__init__()

    @staticmethod
    def fingerprint(table):
        return Reads(table).fingerprint()

    def forward(self, noisy, sigma):
        return noisy


class Asks(gahbench.Reference):
    """Names others."""

    def __init__(
        self,
        basis: Annotated[gahbench.Basis | None, gahbench.Names("basis")] = None,
        dataset: Annotated[gahbench.Dataset | None, gahbench.Names("dataset")] = None,
    ):
        self.basis = basis

    def denoise(self, noisy, sigma, truth):
        return noisy
'''
READS = "return hashlib.sha256((Path(__file__).parent / self.table).read_bytes()).hexdigest()"
NOUNS = {
    "reference": "mine",
    "basis": "mine",
    "metric": "mine",
    "architecture": "mine",
    "by a basis": "asks[basis=mine]",
    "by a dataset": "asks[dataset=mine]",
}


@pytest.fixture
def key(tmp_path):
    def of(noun, body=READS):
        (tmp_path / "plugin.py").write_text(PLUGIN.replace("{body}", body))
        registry = Registry((tmp_path / "plugin.py",))
        kind = "reference" if noun.startswith("by") else noun
        return key_of(registry.configure(kind, NOUNS[noun]).identity)

    return of


@pytest.mark.parametrize("noun", NOUNS)
def test_keys_follow_what_a_plugin_reads(key, tmp_path, noun):
    (tmp_path / "table.txt").write_text("one")
    first = key(noun)
    assert key(noun) == first
    (tmp_path / "table.txt").write_text("two")
    other = key(noun)
    assert other != first
    (tmp_path / "table.txt").write_text("one")
    assert key(noun) == first


@pytest.mark.parametrize("noun", NOUNS)
@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        ("return 3", PluginError, "its fingerprint is a int; accepted: a text, or None"),
        ("raise KeyError('lost')", PluginError, "its fingerprint: KeyError: 'lost'"),
        ("raise ValueError('no such table')", ParameterError, "no such table"),
        (READS, ParameterError, "No such file"),
    ],
)
def test_a_fingerprint_that_is_none_is_an_error(key, noun, body, error, says):
    with pytest.raises(error, match=says):
        key(noun, body)


@pytest.mark.parametrize("noun", NOUNS)
def test_none_leaves_the_identity_as_it_is(tmp_path, noun):
    (tmp_path / "plugin.py").write_text(PLUGIN.replace("{body}", "return None"))
    kind = "reference" if noun.startswith("by") else noun
    identity = Registry((tmp_path / "plugin.py",)).configure(kind, NOUNS[noun]).identity
    assert set(identity) == {"kind", "name", "preset", "parameters", "source", "nested"}
    assert all("fingerprint" not in inner for inner in identity["nested"].values())


def test_a_path_of_what_has_a_fingerprint_is_not_in_the_key(tmp_path):
    plugin = '''
import gahbench

@gahbench.hookimpl
def register_references(register):
    register("reads", Reads)
    register("plain", Plain)

class Plain(gahbench.Reference):
    """Reads a folder."""
    def __init__(self, path: str):
        self.path = path
    def denoise(self, noisy, sigma, truth):
        return noisy

class Reads(Plain):
    """Reads a folder, and says what is in it."""
    def fingerprint(self):
        return self.path[-1]
'''
    (tmp_path / "reads.py").write_text(plugin)
    registry = Registry((tmp_path / "reads.py",))

    def key(name, path):
        return registry.configure("reference", name, path=path).identity_key

    assert key("reads", "here/a") == key("reads", "there/a") != key("reads", "here/b")
    assert key("plain", "here/a") != key("plain", "there/a")
