"""Hostile images that once caused faults."""

import pytest

from .array_files import npy, packed_zeros
from .image_bytes import bomb, file_with_declared_size, picture
from .images import Case, attempt

VALID = [(f"{index}.png", picture("PNG", "RGB", 24, 24, index)) for index in range(8)]
CASES = {
    "a bomb": Case("folder", [*VALID, ("x.png", bomb(13_000))], "faces", {"size": 8}),
    "a header": Case(
        "zip", [*VALID, ("x.png", file_with_declared_size("PNG", 2**31 - 1, 2**31 - 1))], "photos", {"size": 8}
    ),
    "gigabytes of zeros": Case("file", [(".npz", packed_zeros(2 * 10**9))], "whole"),
    "no pixels": Case("file", [(".npy", npy("|u1", (6, 0, 12), "zeros", False, 0))], "whole"),
    "a negative shape": Case("file", [(".npy", npy("|u1", (-1, 12, 12), "zeros", False, 0))], "faces"),
    "a payload": Case("file", [(".npy", npy("|O", (3,), "zeros", False, 0))], "faces"),
    "a FIFO": Case("special", [("fifo,.npy", b"")], "whole"),
    "an endless device": Case("special", [("zero,.npy", b"")], "faces"),
    "no home": Case("text", [("~nobody-at-all/x", b"")], "photos"),
    "an empty name": Case("zip", [*VALID, ("", b"")], "faces", {"size": 8}),
    "a long number": Case("folder", [*VALID, ("identity_CelebA.txt", b"0.png " + b"9" * 5000)], "faces"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", CASES)
def test_images_that_once_caused_faults_are_refused(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attempt(CASES[case], tmp_path)
