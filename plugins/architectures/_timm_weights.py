"""Where timm looks for the weights of a backbone, and whether they are there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlparse

import torch
from huggingface_hub import constants, try_to_load_from_cache

#: Files of weights in a repository of the Hugging Face hub, unless a backbone names another.
FILES = ("model.safetensors", "pytorch_model.bin")


class Weights(NamedTuple):
    """Trained weights of a backbone."""

    address: str
    place: Path
    here: bool


def weights(config: Any) -> Weights:
    """Return where the weights are of a backbone that timm describes so; nothing is downloaded."""
    if config.file:
        return Weights(str(config.file), Path(config.file), Path(config.file).is_file())
    if not config.hf_hub_id:
        place = Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(config.url or "").path).name
        return Weights(str(config.url), place, place.is_file())
    repository, _, revision = config.hf_hub_id.partition("@")
    own = config.hf_hub_filename
    # timm prefers a safetensors file of the same name.
    names = (own, str(PurePosixPath(own).with_suffix(".safetensors")), "open_clip_model.safetensors") if own else FILES
    cache = Path(constants.HF_HUB_CACHE)
    found = (try_to_load_from_cache(repository, name, cache, revision or None) for name in names)
    place = cache / f"models--{repository.replace('/', '--')}"
    return Weights(f"{constants.ENDPOINT}/{repository}", place, any(isinstance(path, str) for path in found))
