"""Files of published weights, compared with the digests in their names, without pyiqa."""

import hashlib

import pytest
import torch

import gahbench
from gahbench_plugins.metrics._perceptual import ALEXNET, File, Perceptual

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "published").write_bytes(CONTENT)
    return File("weights of a test", (tmp_path / "published").as_uri(), f"checkpoints/net-{DIGEST[:8]}.pth")


class MetricWithFiles(Perceptual):
    """A metric with given files."""

    def __init__(self, *files):
        self.given = files

    @property
    def files(self):
        return self.given

    def network(self):
        raise AssertionError("nothing is built")


def test_file_names_contain_the_digests():
    assert ALEXNET.digest == "7be5be79"
    assert File("", "", "checkpoints/net-of-a-kind.pth").digest == ""


def test_downloaded_files_have_their_digest(file):
    metric = MetricWithFiles(file, file)
    metric.prepare()
    assert metric.missing() == ()
    file.check()
    broken = file._replace(relative_path=f"checkpoints/other-{DIGEST[8:16]}.pth")
    with pytest.raises(gahbench.DataError, match=r"cannot be downloaded from .*invalid hash"):
        MetricWithFiles(broken, broken).prepare()
    assert not broken.path.exists()


def test_planning_refuses_files_with_a_wrong_digest(file):
    file.path.parent.mkdir()
    file.path.write_bytes(CONTENT[:3])
    begins = hashlib.sha256(CONTENT[:3]).hexdigest()[:8]
    with pytest.raises(gahbench.DataError, match=rf"begins with {begins}, expected {DIGEST[:8]}; remove it"):
        MetricWithFiles(file, file).fingerprint()
