"""The identity of a plugin depends on the content of its files, and not on their names or paths."""

import os

import pytest
from attack.hostile_files import make_special

from gahbench._util.errors import GahbenchError, ParameterError
from gahbench._util.records import key_of
from gahbench.registry.registry import Registry

HEAD = "import hashlib\nfrom pathlib import Path\nfrom typing import Annotated\n"
DENOISE = "def denoise(self, noisy, sigma, truth): return noisy\n"
BODIES = {
    "reference": DENOISE,
    "basis": "def analysis(self, images): return images\nsynthesis = analysis\n",
    "metric": "def score(self, evaluation): return gahbench.Scores([])\n",
    "dataset": "shape = (1, 8, 8)\ndef images(self, split, count, start=0): raise NotImplementedError\n",
    "architecture": "def forward(self, noisy, sigma): return noisy\n",
}
INIT = "def __init__(self, table: str = 'table.txt'):\n    super().__init__()\n    self.table = table\n"
FINGERPRINTS = {
    "architecture": "@staticmethod\ndef fingerprint(table): {}\n",
    **dict.fromkeys(("reference", "basis", "metric", "dataset"), "def fingerprint(self, table='table.txt'): {}\n"),
}
READS = "return hashlib.sha256((Path(__file__).parent / table).read_bytes()).hexdigest()"
#: A reference that names a plugin.
ASKS = f"""def __init__(
    self,
    basis: Annotated[gahbench.Basis | None, gahbench.Names("basis")] = None,
    dataset: Annotated[gahbench.Dataset | None, gahbench.Names("dataset")] = None,
    reference: Annotated[gahbench.Reference | None, gahbench.Names("reference")] = None,
): ...
{DENOISE}"""
#: The kind of the plugin with a fingerprint, and the kind and the spec of the plugin whose identity depends on it.
CASES = [
    *((kind, kind, "mine") for kind in ("reference", "basis", "metric", "architecture")),
    ("basis", "reference", "asks[basis=mine]"),
    ("dataset", "reference", "asks[dataset=mine]"),
]


@pytest.fixture
def identity(write_class):
    """Return a function that returns the identity of a case whose method ``fingerprint`` has the given body."""

    def compute(case, body=READS):
        fingerprint_kind, kind, spec = case
        text = INIT + FINGERPRINTS[fingerprint_kind].format(body) + BODIES[fingerprint_kind]
        files = (write_class(fingerprint_kind, text, head=HEAD), write_class("reference", ASKS, "asks", head=HEAD))
        return Registry(files).configure(kind, spec).identity

    return compute


@pytest.mark.parametrize("case", CASES, ids=str)
def test_keys_depend_on_the_fingerprint(identity, tmp_path, case):
    keys = []
    for content in ("one", "two", "one"):
        (tmp_path / "table.txt").write_text(content)
        keys.append(key_of(identity(case)))
    assert keys[0] == keys[2] != keys[1]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_invalid_fingerprint_raises_an_error(identity, case):
    for body, message in (
        ("return 3", "its fingerprint is 3; accepted: a string, or None"),
        ("raise KeyError('lost')", "its fingerprint: KeyError: 'lost'"),
        (READS, "No such file"),
    ):
        with pytest.raises(GahbenchError, match=message):
            identity(case, body)
    without_fingerprint = identity(case, "return None")
    assert set(without_fingerprint) == {"kind", "name", "preset", "parameters", "source", "nested"}
    assert all("fingerprint" not in inner for inner in without_fingerprint["nested"].values())


def test_a_fingerprint_replaces_the_path_in_the_key(write_class):
    plain = "def __init__(self, path: str):\n    self.path = path\n" + DENOISE
    reads = plain + "def fingerprint(self): return self.path[-1]\n"
    registry = Registry((write_class("reference", plain, "plain"), write_class("reference", reads, "reads")))

    def key(name, path):
        return registry.configure("reference", name, path=path).identity_key

    assert key("reads", "here/a") == key("reads", "there/a") != key("reads", "here/b")
    assert key("plain", "here/a") != key("plain", "there/a")


FILES = (
    "def __init__(self, file: Annotated[str, gahbench.File()], other: Annotated[str | None, gahbench.File()] = None): "
    f"...\n{DENOISE}"
)


@pytest.fixture
def registry(write_class):
    """A registry with a reference whose parameter is a file, and a reference whose parameter names a reference."""
    files = (write_class("reference", FILES, "reads", head=HEAD), write_class("reference", ASKS, "asks", head=HEAD))
    return Registry(files)


def key(registry, spec):
    return key_of(registry.configure("reference", spec).identity)


@pytest.mark.parametrize("spec", ["reads[{}]", "asks[reference='reads[{}]']"])
def test_keys_depend_on_the_content_of_files(registry, tmp_path, monkeypatch, spec):
    for name, content in (("a.bin", "x"), ("b.bin", "x"), ("c.bin", "y")):
        (tmp_path / name).write_text(content)
    first, same, other = (key(registry, spec.format(tmp_path / name)) for name in ("a.bin", "b.bin", "c.bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert first == same == key(registry, spec.format("~/a.bin")) != other
    (tmp_path / "a.bin").write_text("y")
    os.utime(tmp_path / "a.bin", ns=(1, 1))
    assert key(registry, spec.format(tmp_path / "a.bin")) == other


def test_labels_show_only_the_name_of_a_file(registry, tmp_path):
    (tmp_path / "some, name.bin").write_text("x")
    configured = registry.configure("reference", "reads", file=str(tmp_path / "some, name.bin"))
    assert configured.label == "reads['some, name.bin']"
    assert registry.configure("reference", configured.text).parameters == configured.parameters


def test_an_unreadable_file_is_refused(registry, tmp_path):
    make_special("fifo", tmp_path / "fifo")
    for path, message in (
        ("gone.bin", r"file='gone.bin': no such file"),
        (tmp_path, "is a folder, link or special file; expected a regular file"),
        (tmp_path / "fifo", r"fifo': is a folder, link or special file; expected a regular file"),
    ):
        with pytest.raises(ParameterError, match=message):
            registry.configure("reference", f"reads[{path}]")
    (tmp_path / "a.bin").write_text("x")
    configured = registry.configure("reference", f"reads[{tmp_path / 'a.bin'}]")
    (tmp_path / "a.bin").unlink()
    with pytest.raises(ParameterError, match=r"a\.bin: cannot be read"):
        _ = configured.identity
