"""A diffusion model in a folder of diffusers: which files it has, and reading them, without a download."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gahbench import ParameterError, file_digest, read_regular

from .._extras import imported
from .._messages import brief, suggestion
from .._torch_files import check_weights_file

#: The most bytes of a configuration.
MAX_BYTES = 1 << 20
CONFIG, SCHEDULER, STEM = "config.json", "scheduler_config.json", "diffusion_pytorch_model"
#: Files of weights, the format to prefer first; ``*`` of those that are cut into several.
WEIGHTS = {kind: (f"{STEM}.{kind}", f"{STEM}.{kind}.index.json", f"{STEM}-*.{kind}") for kind in ("safetensors", "bin")}
#: What diffusers lists of weights that do not fit.
FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys")
ACCEPTED = (
    "accepted: a folder that UNet2DModel.save_pretrained wrote, or one of a pipeline, with unet/ and scheduler/ or "
    "with all in it"
)


@dataclass(frozen=True)
class Files:
    """The files of a model."""

    unet: Path
    weights: tuple[Path, ...]
    config: Mapping[str, Any]
    scheduler: Path | None

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what the model computes."""
        paths = (self.unet / CONFIG, *self.weights, *((self.scheduler,) if self.scheduler else ()))
        names = "\n".join(f"{path.name} {file_digest(str(path))}" for path in paths)
        return hashlib.sha256(names.encode()).hexdigest()


def find_files(folder: Path) -> Files:
    """Return the files of a model in a folder."""
    unet = next((one for one in (folder / "unet", folder) if (one / CONFIG).is_file()), None)
    if unet is None:
        reason = f"has no {CONFIG} and no unet/{CONFIG}" if folder.is_dir() else "no such folder"
        raise ParameterError(f"{folder}: {reason}; {ACCEPTED}")
    config = read_config(unet / CONFIG)
    if (name := config.get("_class_name")) != "UNet2DModel":
        raise ParameterError(f"{unet / CONFIG}: its class is {brief(name)}, not UNet2DModel; {ACCEPTED}")
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise ParameterError(f"{unet / CONFIG}: a model of labelled images; accepted are models of images alone")
    found = (tuple(path for one in names for path in sorted(unet.glob(one))) for names in WEIGHTS.values())
    weights = next((paths for paths in found if paths), ())
    if not weights:
        raise ParameterError(f"{unet}: no weights; accepted: {', '.join(names[0] for names in WEIGHTS.values())}")
    schedulers = (folder / "scheduler" / SCHEDULER, folder / SCHEDULER)
    return Files(unet, weights, config, next((path for path in schedulers if path.is_file()), None))


def read_config(path: Path) -> Mapping[str, Any]:
    """Return a configuration."""
    try:
        found = json.loads(read_regular(path, MAX_BYTES))
        if not isinstance(found, Mapping):
            raise ValueError(f"it is a {type(found).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: cannot be read as a JSON object: {brief(error)}") from error
    return found


def load_unet(files: Files) -> nn.Module:
    """Return the network, float32, on the CPU. Of torch files only tensors are unpickled."""
    kind, library = files.weights[0].name.split(".")[1], diffusers()
    try:
        for path in files.weights:
            check_weights_file(path)
        with _quiet():
            network, info = library.UNet2DModel.from_pretrained(
                str(files.unet),
                local_files_only=True,
                use_safetensors=kind == "safetensors",
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ParameterError(f"{files.unet}: cannot be read by diffusers: {brief(error)}") from error
    # What is missing would be left random.
    faults = [
        f"{name.replace('_', ' ')}: {brief(', '.join(map(str, info[name])))}" for name in FAULTS if info.get(name)
    ]
    if faults:
        raise ParameterError(f"{files.unet}: weights of another network: {'; '.join(faults)}")
    module: nn.Module = network
    return module


def make_scheduler(name: Any, saved: Mapping[str, Any], arguments: Mapping[str, Any], where: str) -> Any:
    """Return a scheduler of diffusers."""
    library = diffusers()
    factory = getattr(library, name, None) if isinstance(name, str) and name.endswith("Scheduler") else None
    if not (isinstance(factory, type) and issubclass(factory, library.SchedulerMixin)):
        raise ParameterError(f"{where}: {brief(name)} is no scheduler of diffusers, such as DDPMScheduler")
    known = [one for one in inspect.signature(factory).parameters if one != "self"]
    for one in arguments:
        if one not in known:
            near = suggestion(one, known) or ";"
            raise ParameterError(
                f"arguments: {name} has no '{brief(one)}'{near} accepted: {', '.join(known) or 'none'}"
            )
    try:
        with _quiet():
            return factory.from_config({**saved, **arguments})  # type: ignore[attr-defined]
    except Exception as error:
        raise ParameterError(f"{where}: {name} refuses its arguments: {brief(error)}") from error


def diffusers() -> Any:
    """Return the package diffusers."""
    return imported("diffusers", "diffusers")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Have diffusers say in errors alone what is wrong: unused entries of configurations are usual."""
    from diffusers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
