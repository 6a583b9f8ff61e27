"""Parameters that make plugins small, or that are required, for tests of every plugin."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement

import gahbench

#: Small parameters, since networks of the published widths are slow.
SMALL: dict[str, dict[str, Any]] = {
    "bf-cnn": {"width": 8, "layers": 6},
    "bf-cnn-rf": {"width": 8, "layers": 6},
    "by-level": {"references": ("gaussian-blur[width=0.8]", "tv[weight=0.2]"), "levels": (15, 50)},
    "deepinv": {"model": "DnCNN", "arguments": {"depth": 4, "nf": 8}},
    "dit": {"width": 32, "depth": 2},
    "dncnn": {"width": 8, "layers": 6},
    "ffdnet": {"width": 8, "layers": 5},
    "local-score": {"images": 4, "validation": 1},
    "mlp": {"width": 256},
    # Any class in a module is suitable.
    "module": {"factory": "gahbench_plugins.architectures.dncnn:BFCNN", "arguments": {"width": 8, "layers": 6}},
    "mohan-rcnn": {"width": 8, "stages": 2},
    "nafnet": {"width": 8},
    "pca-locality": {"images": 8},
    "pspc": {"images": 8, "validation": 1},
    "timm-unet": {"width": 8},
    "unet": {"width": 8, "levels": 2},
    "unet-conditional": {"width": 8},
    "vit": {"width": 32, "depth": 2},
}
#: Packages of plugins that the extra ``test`` does not install.
NEEDS = {
    "bm3d": ("deepinv", "ptwt"),
    "dask": ("distributed",),
    "slurm": ("submitit",),
    "hf-dataset": ("datasets",),
    **dict.fromkeys(("dists", "lpips"), ("pyiqa",)),
    **{name: (name,) for name in ("tensorboard", "torchvision", "wandb")},
    "diffusers": ("diffusers",),
    "deepinv": ("deepinv",),
}


def packages_of(extras: Iterable[str]) -> set[str]:
    """Return the names of extras, and of the packages that they install."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names, optional = set(extras), project["optional-dependencies"]
    return names | {Requirement(requirement).name for name in names for requirement in optional[name]}


def mark_extras(names: Iterable[str]) -> list[Any]:
    """Return names of plugins as parameters of a test, with marks of the packages that they need."""
    return [pytest.param(name, marks=extras(name)) for name in names]


def extras(name: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a plugin's test: a mark if it needs packages of extras."""
    return [pytest.mark.extras(*NEEDS[name])] if name in NEEDS else []


def small(name: str, folder: Path) -> dict[str, Any]:
    """Return small parameters of a plugin, and write files that it needs.

    Parameters
    ----------
    name
        Name of the plugin.
    folder
        Folder in which files may be written.
    """
    if name == "images":
        file = folder / "images.npz"
        np.savez(file, images=gahbench.create("dataset", "faces").images("train", 64).mul(255).byte().numpy())
        return {"path": str(file)}
    if name == "captures":
        file = folder / "captures.npz"
        clean = gahbench.create("dataset", "faces", size=16).images("test", 8).numpy()[:, 0]
        np.savez(file, clean=clean, noisy=clean + np.random.default_rng(0).normal(0, 0.1, clean.shape))
        return {"path": str(file)}
    if name == "torchvision":
        return {"path": str(mnist(folder))}
    if name == "hf-dataset":
        return {"path": str(save_dataset(folder))}
    if name == "diffusers":
        return {"path": str(save_ddpm(folder / "ddpm"))}
    if name != "pretrained":
        return SMALL.get(name, {})
    file = folder / "weights.pt"
    torch.save(gahbench.create("architecture", "bf-cnn", width=4, layers=3).state_dict(), file)
    return {"architecture": "bf-cnn[width=4,layers=3]", "checkpoint": str(file)}


def tiny_unet(**parameters: Any) -> Any:
    """Return a ``UNet2DModel`` of diffusers with random weights, by default for grey images."""
    import diffusers

    torch.manual_seed(0)
    arguments = {"sample_size": 8, "in_channels": 1, "out_channels": 1, **parameters}
    return diffusers.UNet2DModel(
        block_out_channels=(4, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=2,
        attention_head_dim=4,
        **arguments,
    ).eval()


def save_ddpm(folder: Path, **parameters: Any) -> Path:
    """Save a pipeline of :func:`tiny_unet` with a DDPM scheduler, and return its folder."""
    import diffusers

    diffusers.DDPMPipeline(tiny_unet(**parameters), diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder


def mnist(folder: Path, train: int = 40, test: int = 12) -> Path:
    """Write random images of 28x28 in torchvision's layout of MNIST, and return the folder."""
    draw = np.random.default_rng(0)
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", train), ("t10k", test)):
        # The magic numbers are those of byte arrays with three dimensions and with one dimension.
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        header = np.array([0x803, count, 28, 28], dtype=">i4").tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        header = np.array([0x801, count], dtype=">i4").tobytes()
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(header + bytes(count))
    return folder


def save_dataset(folder: Path, **counts: int) -> Path:
    """Save random colour images of 16x16 with the package datasets, and return the folder."""
    import datasets
    from PIL import Image

    draw = np.random.default_rng(0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    splits = {
        name: datasets.Dataset.from_dict(
            {
                "image": [Image.fromarray(draw.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(count)],
                "label": [0] * count,
            },
            features,
        )
        for name, count in (counts or {"train": 40, "test": 12}).items()
    }
    datasets.DatasetDict(splits).save_to_disk(folder / "saved")
    return folder / "saved"
