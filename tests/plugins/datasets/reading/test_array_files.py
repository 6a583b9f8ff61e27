import pickle
import zipfile

import numpy as np
import pytest
import torch

from gahbench._util.errors import DataError
from gahbench_plugins.datasets._reading.arrays import read_arrays
from gahbench_plugins.datasets._reading.files import from_array
from gahbench_plugins.datasets._reading.preprocess import Preprocessing


def read(path):
    found = read_arrays(path)
    return from_array(found.images, Preprocessing(None, "rgb"), str(path), found.identity)


def assert_refused(path, *words):
    with pytest.raises(DataError) as caught:
        read(path)
    for word in (path.name, *words):
        assert word in str(caught.value)


class Opened:
    """What a pickle would run, were it loaded."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def test_files_that_hold_pickles_are_refused_and_not_run(tmp_path):
    np.save(tmp_path / "a.npy", np.array([Opened()], dtype=object), allow_pickle=True)
    assert_refused(tmp_path / "a.npy", "accepted: an .npy file of one plain array")
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Opened()))
    assert_refused(tmp_path / "b.npy", "accepted")
    np.savez(tmp_path / "a.npz", images=np.array([Opened()], dtype=object))
    assert_refused(tmp_path / "a.npz", "accepted")
    torch.save({"images": Opened()}, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", "without running its content", "accepted")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Opened()))
    assert_refused(tmp_path / "b.pt", "without running its content", "accepted")


def test_other_contents_of_pt_files_are_refused(tmp_path):
    for content, says in (
        ([1, 2], "it holds a list"),
        ({"faces": torch.zeros(3)}, "no key 'images'; it holds faces"),
        (torch.zeros(3, 8, 8, dtype=torch.bfloat16), "BFloat16"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), "int32; accepted"),
        (torch.full((3, 8, 8), 2.0), "0-1"),
        (torch.zeros(3, 8), "(3, 8); accepted"),
    ):
        torch.save(content, tmp_path / "a.pt")
        assert_refused(tmp_path / "a.pt", says, "accepted")
    (tmp_path / "a.pt").write_bytes(b"")
    assert_refused(tmp_path / "a.pt", "accepted")
    torch.save(torch.randint(0, 256, (6, 12, 12, 3), dtype=torch.uint8), tmp_path / "a.pt")
    assert read(tmp_path / "a.pt").stored.shape == (6, 3, 12, 12)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(1).expand(10**5, 10**5), "claims 10,000,000,000 numbers, of which 1 are in the file"),
        (torch.rand(6, 12, 12).to_sparse(), "is sparse"),
        (torch.empty(6, 12, 12, device="meta"), "is without numbers, on the meta device"),
        (torch.rand(6, 12, 12) * 1j, "is complex"),
        (torch.zeros(6, 0, 12), "an image of 0x12 pixels; accepted: at least 1x1"),
        (torch.full((6, 12, 12), torch.nan), "pixels from nan to nan"),
    ],
)
def test_tensors_that_are_no_pixels_are_refused(tmp_path, tensor, says):
    torch.save({"images": tensor}, tmp_path / "a.pt")
    assert_refused(tmp_path / "a.pt", says)


def test_compressed_torch_files_are_refused(tmp_path):
    torch.save(torch.rand(6, 12, 12), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert_refused(tmp_path / "b.pt", "is compressed, and torch compresses none")
