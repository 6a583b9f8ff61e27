"""What a diffusion model of diffusers sees and returns, as its scheduler says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from gahbench._util.errors import ParameterError, listing

if TYPE_CHECKING:
    from gahbench.networks.conversions import Output, SigmaInput

#: Outputs of :class:`gahbench.networks.conversions.Converted`, by ``prediction_type``.
PREDICTIONS: dict[str, Output] = {"epsilon": "eps", "sample": "image", "v_prediction": "v"}
EDM_PREDICTIONS: dict[str, Output] = {"epsilon": "edm", "v_prediction": "edm-v"}
#: Other schedulers of that preconditioning state the noise level otherwise.
EDM_SCHEDULERS = frozenset({"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"})
#: ``variance_type`` of models that return a variance too.
LEARNED = ("learned", "learned_range")


class Convention(NamedTuple):
    """What a model sees and returns."""

    sigma: SigmaInput
    output: Output
    alphas_cumprod: Tensor | None = None
    sigma_data: float = 0.5
    returns_variance: bool = False


def convention(scheduler: Any) -> Convention:
    """Return the convention of the models of a scheduler of diffusers; no step of it is taken."""
    name, config = type(scheduler).__name__, dict(getattr(scheduler, "config", {}))
    is_edm = not EDM_SCHEDULERS.isdisjoint(one.__name__ for one in type(scheduler).__mro__)
    products = getattr(scheduler, "alphas_cumprod", None)
    # Of the continuous ones of EulerDiscreteScheduler the model sees log(sigma) / 4.
    if not is_edm and (products is None or config.get("timestep_type") == "continuous"):
        raise ParameterError(
            f"scheduler={name}: accepted are schedulers of diffusers with alphas_cumprod and discrete timesteps, such "
            f"as DDPMScheduler and DDIMScheduler, and {listing(sorted(EDM_SCHEDULERS))}"
        )
    accepted, prediction = (EDM_PREDICTIONS if is_edm else PREDICTIONS), config.get("prediction_type")
    if prediction not in accepted:
        raise ParameterError(f"prediction_type={prediction!r} of {name}: accepted are {listing(accepted)}")
    output = accepted[prediction]
    if is_edm:
        return Convention("level", output, sigma_data=float(config["sigma_data"]))
    products = torch.as_tensor(products, dtype=torch.float64)
    return Convention("timestep", output, products, returns_variance=config.get("variance_type") in LEARNED)


class FirstChannels(nn.Module):
    """A model that returns a variance behind the channels of its output, without that."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, *given: Tensor) -> Tensor:
        """Return as many channels of the model's output as the images have."""
        found = self.model(images, *given)
        sample: Tensor = getattr(found, "sample", found)
        return sample[:, : images.shape[1]]
