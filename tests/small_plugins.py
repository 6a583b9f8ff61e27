"""Parameters that make plugins small, or that they cannot do without, for tests of every plugin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gahbench

#: The published widths are right but slow; their shape is what the contract is about.
SMALL: dict[str, dict[str, Any]] = {
    "bf-cnn": {"width": 8, "layers": 6},
    "bf-cnn-rf": {"width": 8, "layers": 6},
    "deepinv": {"model": "DnCNN", "arguments": "{depth: 4, nf: 8}"},
    "dit": {"width": 32, "depth": 2},
    "dncnn": {"width": 8, "layers": 6},
    "drunet": {"width": 8, "blocks": 1},
    "ffdnet": {"width": 8, "layers": 5},
    "gs-drunet": {"width": 8, "blocks": 1},
    "ircnn": {"width": 8},
    "local-score": {"images": 4, "validation": 1},
    "mlp": {"width": 256},
    # Any class will do; this one there is.
    "module": {"factory": "gahbench_plugins.architectures.bf_cnn:BFCNN", "arguments": "{width: 8, layers: 6}"},
    "mohan-densenet": {"width": 8, "stages": 2},
    "mohan-rcnn": {"width": 8, "stages": 2},
    "nafnet": {"width": 8},
    "ncsnpp": {"width": 32, "multipliers": (1, 1, 1), "blocks": 1},
    "pca-locality": {"images": 8},
    "pspc": {"images": 8, "validation": 1},
    "restormer": {"width": 8, "blocks": (1, 1, 1, 1), "refinement": 1},
    "scunet": {"blocks": 1},
    "swinir": {"width": 12, "groups": 1, "blocks": 1, "heads": 2},
    "timm-unet": {"width": 8},
    "unet": {"width": 8, "levels": 2},
    "unet-conditional": {"width": 8},
    "vit": {"width": 32, "depth": 2},
}
#: Plugins that need packages of extras which the extra ``test`` does not install.
NEEDS = {
    "bm3d": ("deepinv", "ptwt"),
    "dask": ("distributed",),
    "hf-dataset": ("datasets",),
    "mlflow": ("mlflow", "sqlalchemy"),
    **dict.fromkeys(("dists", "lpips"), ("pyiqa",)),
    **{name: (name,) for name in ("tensorboard", "torchvision", "trackio", "wandb")},
    "diffusers": ("diffusers",),
    **dict.fromkeys(("deepinv", "drunet", "gs-drunet", "ncsnpp", "restormer", "scunet", "swinir"), ("deepinv",)),
}


def marked(names: Iterable[str]) -> list[Any]:
    """Return names of plugins as parameters of a test, marked with the packages that they need."""
    return [pytest.param(name, marks=extras(name)) for name in names]


def extras(name: str) -> list[pytest.MarkDecorator]:
    """Return the mark of a plugin's test, if it needs packages of extras."""
    return [pytest.mark.extras(*NEEDS[name])] if name in NEEDS else []


def small(name: str, folder: Path) -> dict[str, Any]:
    """Return parameters of a plugin.

    Parameters
    ----------
    name
        Name of the plugin.
    folder
        Where a file that it needs may be written.
    """
    if name == "images":
        file = folder / "images.npz"
        np.savez(file, images=gahbench.create("dataset", "faces").images("train", 64).mul(255).byte().numpy())
        return {"path": str(file)}
    if name == "torchvision":
        return {"path": str(mnist(folder))}
    if name == "hf-dataset":
        return {"path": str(saved_dataset(folder))}
    if name in ("torchscript", "torch-export"):
        return _saved(name, folder / "model.pt")
    if name == "hf":
        return _in_the_cache_of_the_hub(folder)
    if name == "diffusers":
        return {"path": str(save_ddpm(folder / "ddpm"))}
    if name != "pretrained":
        return SMALL.get(name, {})
    file = folder / "weights.pt"
    torch.save(gahbench.create("architecture", "bf-cnn", width=4, layers=3).state_dict(), file)
    return {"architecture": "bf-cnn[width=4,layers=3]", "checkpoint": str(file)}


def _in_the_cache_of_the_hub(folder: Path) -> dict[str, Any]:
    """Put weights where the hub's cache would have them, and return the parameters that name them."""
    from huggingface_hub import constants
    from safetensors.torch import save_file

    # For the tests that follow, too: none of them reads what a user has downloaded.
    constants.HF_HUB_CACHE = str(folder)
    place = folder / "models--someone--denoiser" / "snapshots" / ("0" * 40)
    place.mkdir(parents=True)
    network = gahbench.create("architecture", "bf-cnn", width=4, layers=3)
    save_file(network.state_dict(), place / "weights.safetensors")
    return {
        "repo": "someone/denoiser",
        "revision": "0" * 40,
        "file": "weights.safetensors",
        "architecture": "bf-cnn[width=4,layers=3]",
    }


def tiny_unet(**parameters: Any) -> Any:
    """Return a ``UNet2DModel`` of diffusers with random weights, of grey images unless parameters say otherwise."""
    import diffusers

    torch.manual_seed(0)
    given = {"sample_size": 8, "in_channels": 1, "out_channels": 1, **parameters}
    return diffusers.UNet2DModel(
        block_out_channels=(4, 8),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=2,
        attention_head_dim=4,
        **given,
    ).eval()


def save_ddpm(folder: Path, **parameters: Any) -> Path:
    """Save a pipeline of :func:`tiny_unet` with a DDPM scheduler, and return its folder."""
    import diffusers

    diffusers.DDPMPipeline(tiny_unet(**parameters), diffusers.DDPMScheduler()).save_pretrained(folder)
    return folder


def _saved(name: str, file: Path) -> dict[str, Any]:
    """Save a network with its code, for images of any size, and return the parameters that name it."""
    network = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False).eval()
    images = torch.rand(2, 1, 16, 16)
    if name == "torchscript":
        torch.jit.save(torch.jit.trace(network, images), file)
    else:
        axes = {0: torch.export.Dim("batch", max=4096), 2: torch.export.Dim("rows"), 3: torch.export.Dim("columns")}
        torch.export.save(torch.export.export(network, (images,), dynamic_shapes=(axes,)), file)
    return {"checkpoint": str(file), "sigma": "none"}


def mnist(folder: Path, train: int = 40, test: int = 12) -> Path:
    """Write random images of 28x28 as torchvision lays out MNIST, and return the folder."""
    draw = np.random.default_rng(0)
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, count in (("train", train), ("t10k", test)):
        # Magic numbers of arrays of bytes of three dimensions, and of one.
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = np.array([0x803, count, 28, 28], dtype=">i4").tobytes()
        (raw / f"{name}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = np.array([0x801, count], dtype=">i4").tobytes()
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(head + bytes(count))
    return folder


def saved_dataset(folder: Path, **counts: int) -> Path:
    """Write random colour images of 16x16 as the package datasets saves them, by split, and return the folder."""
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
