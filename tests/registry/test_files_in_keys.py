"""A parameter that is a file: its content decides its key, and neither its name nor its path."""

import os
from typing import Annotated

import pytest

from gahbench._util.errors import ParameterError
from gahbench._util.keys import key_of
from gahbench.registry.marks import File
from gahbench.registry.parameters import constructor_parameters
from gahbench.registry.registry import Registry

PLUGIN = '''"""References that read a file, or name one that does."""
from typing import Annotated
import gahbench


@gahbench.hookimpl
def register_references(register):
    register("reads", Reads)
    register("asks", Asks)


class Reads(gahbench.Reference):
    """Reads a file."""

    def __init__(self, file: Annotated[str, gahbench.File()], other: Annotated[str | None, gahbench.File()] = None):
        self.file = file

    def denoise(self, noisy, sigma, truth):
        return noisy


class Asks(Reads):
    """Asks one that reads a file."""

    def __init__(self, inner: Annotated[gahbench.Reference, gahbench.Names("reference")]):
        self.inner = inner
'''


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    return Registry((tmp_path / "plugin.py",))


def key(registry, spec):
    return key_of(registry.configure("reference", spec).identity)


@pytest.mark.parametrize("spec", ["reads[{}]", "asks['reads[{}]']"])
def test_keys_follow_the_content(registry, tmp_path, spec):
    for name, content in (("a.bin", "x"), ("b.bin", "x"), ("c.bin", "y")):
        (tmp_path / name).write_text(content)
    first, same, other = (key(registry, spec.format(tmp_path / name)) for name in ("a.bin", "b.bin", "c.bin"))
    assert first == same != other
    (tmp_path / "a.bin").write_text("y")
    os.utime(tmp_path / "a.bin", ns=(1, 1))
    assert key(registry, spec.format(tmp_path / "a.bin")) == other


def test_labels_show_the_name_of_the_file_alone(registry, tmp_path):
    (tmp_path / "some, name.bin").write_text("x")
    configured = registry.configure("reference", "reads", file=str(tmp_path / "some, name.bin"))
    assert configured.label == "reads['some, name.bin']"
    assert registry.configure("reference", configured.text).parameters == configured.parameters


def test_a_file_must_be_there(registry, tmp_path):
    with pytest.raises(ParameterError, match=r"file='gone.bin': no such file in .* \(accepted: path of a file\)"):
        registry.configure("reference", "reads[gone.bin]")
    with pytest.raises(ParameterError, match="is a folder; expected a regular file"):
        registry.configure("reference", f"reads[{tmp_path}]")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ParameterError, match=r"fifo': is a FIFO; expected a regular file \(accepted: path of a file\)"):
        registry.configure("reference", f"reads[{tmp_path / 'fifo'}]")
    (tmp_path / "a.bin").write_text("x")
    configured = registry.configure("reference", f"reads[{tmp_path / 'a.bin'}]")
    (tmp_path / "a.bin").unlink()
    with pytest.raises(ParameterError, match=r"a\.bin: cannot be read"):
        _ = configured.identity


def test_a_home_folder_is_understood(registry, tmp_path, monkeypatch):
    (tmp_path / "a.bin").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert key(registry, "reads[~/a.bin]") == key(registry, f"reads[{tmp_path / 'a.bin'}]")


def test_a_file_may_be_left_out():
    def factory(file: Annotated[str | None, File()] = None) -> None: ...

    (parameter,) = constructor_parameters(factory, "factory")
    assert parameter.is_file
    assert parameter.settled_default is None
    assert parameter.type_name == "path of a file or null"
