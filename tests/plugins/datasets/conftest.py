"""Fixtures for tests of image files: trees of synthetic images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def write_images() -> Callable[..., np.ndarray]:
    """Write images (N, H, W) or (N, H, W, 3), uint8, losslessly unless their names end in .jpg."""

    def write(folder: Path, names: list[str], pixels: np.ndarray) -> np.ndarray:
        for name, image in zip(names, pixels, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / name)
        return pixels

    return write
