"""Training recipes, and the fields of the ``training`` section of a suite."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

#: Fields that do not change the outcome of a fit, and so are absent from its key.
NOT_IN_KEY = ("validations", "validation_images", "halves")
BUDGETS = ("steps", "epochs")

#: Defaults by recipe. ``paper`` is the recipe of Kadkhodaie et al. 2024. ``kl`` takes the bound (5) of that
#: paper, the integral of MSE sigma^-3 d sigma, as its objective: log-uniform noise levels, errors over sigma^2.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "epochs": 1000, "batch_size": 512, "optimizer": "adam", "learning_rate": 1e-3, "schedule": "halving",
        "warmup": 0, "clip": None, "noise": "quadratic", "weighting": "uniform", "sigma_min": 0.0,
        "initialisation": "published",
    },
    "kl": {
        "steps": 20_000, "batch_size": 64, "optimizer": "adam", "learning_rate": 2e-3, "schedule": "cosine",
        "warmup": 100, "clip": 1.0, "noise": "log-uniform", "weighting": "inverse-variance", "sigma_min": 0.01,
        "initialisation": "own",
    },
}  # fmt: skip

Positive = Annotated[int, Field(ge=1)]
Count = Positive | Literal["all"]


class PerImage(BaseModel):
    """A number of steps proportional to the number of training images, with a minimum."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    per_image: Annotated[float, Field(gt=0, le=1e9)]
    minimum: Positive = 1


def _parse_steps(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    try:
        return PerImage.model_validate(value)
    except ValidationError as error:
        # pydantic would report one error for each type that the field accepts.
        field, problem = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"].lower()
        accepted = "a whole number, or {per_image: 20, minimum: 500}"
        raise ValueError(f"accepted: {accepted}; {field}: {problem}") from error


class Training(BaseModel):
    """Settings for training a network. Fields that a suite leaves out come from the recipe.

    Parameters
    ----------
    recipe
        ``kl`` or ``paper``.
    steps, epochs
        The training budget; exactly one of the two is set. Steps may be proportional to the number of images,
        ``{per_image: 20, minimum: 500}``, if that number is finite.
    batch_size
        Number of images in a batch.
    train_images
        Use the first N images of the train split; ``all`` uses the whole set, or the endless stream of a generator. A
        list is a sweep: one network is trained for each number.
    halves
        Whether every network has a partner, trained with the same settings on as many images of the other half: the
        network is trained on split A, its partner on split B.
    same_initialisation
        Whether a network and its partner start from the same weights.
    snapshots
        Number of weight snapshots stored during training, at logarithmically spaced steps; the last snapshot is the
        trained network.
    split
        The split that training images come from: ``train``, or one of its halves.
    epoch_images
        Number of images of an epoch, approximately: smaller sets are repeated within an epoch.
    optimizer, learning_rate, weight_decay
        The optimiser (``adam``, ``adamw``, ``muon`` (:class:`gahbench.training.muon.Muon`) or ``sgd``, gradient descent
        without momentum), its peak learning rate, and its weight decay.
    schedule
        The learning-rate schedule: ``cosine`` to zero, ``halving`` at each tenth of the budget, or ``constant``.
    warmup
        Number of steps over which the learning rate rises linearly.
    clip
        Maximum norm of the gradient; null turns clipping off.
    ema
        Decay of an exponential moving average of the weights, which is then stored; null turns averaging off.
    noise, sigma_min, sigma_max
        Distribution of the noise level in training, and its range: ``log-uniform``, or ``quadratic``, the square of a
        uniform variable, scaled to the range.
    weighting
        ``inverse-variance`` divides residuals by sigma; ``uniform`` does not; ``edm`` divides them by
        sigma s / sqrt(sigma^2 + s^2), s = ``sigma_data``, which is the error of the best denoiser of white noise of
        standard deviation s, so that all noise levels count equally (Karras et al. 2022, table 1).
    sigma_data
        Standard deviation of the pixels of the data, for ``edm``.
    initialisation
        ``kaiming`` draws the weights of convolutions and linear layers from Kaiming's distribution; ``published``, the
        initialisation of the code of Kadkhodaie et al. 2024, also draws the gains of bias-free normalisation, with a
        standard deviation of 2/9/64, clipped to +-0.025; ``own`` keeps the architecture's initialisation.
    precision
        ``auto`` trains under bfloat16 autocast if the fit takes a minute or more and a timed step is at least 15 %
        faster in bfloat16, and in ``float32`` otherwise. Images are denoised in float32 for scores.
    compile
        ``auto`` uses torch.compile if, by a timed step, the fit would take ten minutes or more without it, or three
        minutes or more on a GPU.
    validations, validation_images
        Number of times that the validation PSNR is measured for the history during training, and number of validation
        images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    recipe: Literal["kl", "paper"] = "kl"
    steps: Annotated[Positive | PerImage | None, BeforeValidator(_parse_steps)] = None
    epochs: Positive | None = None
    batch_size: Positive
    train_images: Count | Annotated[tuple[Count, ...], Field(min_length=1, strict=False)] = "all"
    halves: bool = False
    same_initialisation: bool = True
    snapshots: Annotated[int, Field(ge=0, le=1000)] = 0
    split: Literal["train", "A", "B"] = "train"
    epoch_images: Positive = 250_000
    optimizer: Literal["adam", "adamw", "muon", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["cosine", "halving", "constant"]
    warmup: Annotated[int, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)] | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    noise: Literal["log-uniform", "quadratic"]
    weighting: Literal["inverse-variance", "uniform", "edm"]
    sigma_data: Annotated[float, Field(gt=0)] = 0.15
    sigma_min: Annotated[float, Field(ge=0, lt=1)]
    sigma_max: Annotated[float, Field(gt=0, le=10)] = 1.0
    initialisation: Literal["kaiming", "own", "published"]
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "always", "never"] = "auto"
    validations: Positive = 10
    validation_images: Positive = 32

    @model_validator(mode="before")
    @classmethod
    def _fill_in_recipe(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        # Validation of the fields rejects an unknown recipe.
        defaults = dict(RECIPES.get(str(fields.get("recipe", "kl")), RECIPES["kl"]))
        if any(fields.get(name) is not None for name in BUDGETS):
            defaults = {name: value for name, value in defaults.items() if name not in BUDGETS}
        return {**defaults, **fields}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give one budget: steps or epochs" + (", not both" if self.steps else ""))
        if isinstance(self.train_images, tuple) and len(set(self.train_images)) < len(self.train_images):
            raise ValueError(f"train_images={list(self.train_images)} repeats a number")
        if self.halves and self.split != "train":
            raise ValueError(f"halves: true trains on A and B already; split: {self.split} is for one network alone")
        if self.snapshots == 1:
            raise ValueError("snapshots=1 would be the trained network alone; accepted: 0, 2, 3, ...")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min={self.sigma_min:g} must be below sigma_max={self.sigma_max:g}")
        if self.weighting != "edm" and self.sigma_data != type(self).model_fields["sigma_data"].default:
            raise ValueError(f"sigma_data={self.sigma_data:g} is for weighting='edm', not {self.weighting!r}")
        if self.sigma_min == 0 and (self.noise == "log-uniform" or self.weighting != "uniform"):
            raise ValueError("log-uniform noise, and weighting other than uniform, need sigma_min > 0")
        return self

    @property
    def is_sweep(self) -> bool:
        """Whether ``train_images`` lists several sizes, each of which trains a network."""
        return isinstance(self.train_images, tuple)

    @property
    def sweep(self) -> tuple[Training, ...]:
        """One ``Training`` per number of images, on split A if ``halves`` is set."""
        counts = self.train_images if isinstance(self.train_images, tuple) else (self.train_images,)
        split = "A" if self.halves else self.split
        return tuple(self.model_copy(update={"train_images": count, "split": split}) for count in counts)

    @property
    def partner(self) -> Training | None:
        """The same training on split B, or ``None`` unless ``halves`` is set."""
        return self.model_copy(update={"split": "B"}) if self.halves else None

    def key_fields(self) -> dict[str, Any]:
        """Return the fields that determine the outcome of a fit, as JSON values."""
        # The initialisation of the other half matters only to that half.
        ignored = NOT_IN_KEY if self.split == "B" else (*NOT_IN_KEY, "same_initialisation")
        return self.model_dump(mode="json", exclude=set(ignored))

    @property
    def weights_stream(self) -> str | None:
        """Name of the random stream of initial weights: ``"B"`` for a partner with its own weights, or ``None``."""
        return None if self.same_initialisation or self.split != "B" else "B"

    def snapshot_steps(self, steps: int) -> tuple[int, ...]:
        """Return the steps after which weights are stored, up to the last step, without duplicates."""
        if not self.snapshots:
            return ()
        spaced = (round(steps ** (index / (self.snapshots - 1))) for index in range(self.snapshots))
        return tuple(dict.fromkeys(spaced))

    def total_steps(self, train_images: int | None) -> int:
        """Return the number of optimiser steps for a training set of a given size.

        Parameters
        ----------
        train_images
            Number of training images; ``None`` for an endless stream.

        Raises
        ------
        ValueError
            If the steps are proportional to the number of images and the images are an endless stream.
        """
        if isinstance(self.steps, PerImage):
            if train_images is None:
                raise ValueError(
                    "steps per image need a finite number of images; this dataset is endless; accepted: a number for "
                    "train_images, or steps: 20000"
                )
            return max(self.steps.minimum, round(self.steps.per_image * train_images))
        if self.steps is not None:
            return self.steps
        images = epoch_size(train_images, self.epoch_images) if train_images else self.epoch_images
        return max(1, (self.epochs or 1) * images // self.batch_size)

    def rate(self, step: int, progress: float) -> float:
        """Return the learning rate at a step; ``progress`` in [0, 1] is the fraction of the budget spent."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        decay = 1.0
        if self.schedule == "cosine":
            decay = 0.5 * (1 + math.cos(math.pi * progress))
        elif self.schedule == "halving":
            decay = 0.5 ** math.floor(10 * progress)
        return self.learning_rate * warm * decay


def epoch_size(images: int, epoch_images: int) -> int:
    """Return the number of images in an epoch: a set repeated at least once, as often as ``epoch_images`` allows."""
    return images * max(1, epoch_images // images)
