"""Recipes of training: two published ones, and the fields that a suite may change."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gahbench._util.errors import listing

#: Fields that only watch a fit, or allow one.
WATCHING = ("validations", "validation_images", "allow_time_budget")
BUDGETS = ("steps", "epochs", "seconds")

#: The recipes: ``paper`` is that of Kadkhodaie et al. 2024; ``kl`` makes the bound (5) of that
#: paper, the integral of MSE sigma^-3 d sigma, its training objective: log-uniform noise levels, errors over sigma^2.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "epochs": 1000,
        "batch_size": 512,
        "optimizer": "adam",
        "learning_rate": 1e-3,
        "schedule": "halving",
        "warmup": 0,
        "clip": None,
        "noise": "quadratic",
        "weighting": "uniform",
        "sigma_min": 0.0,
        "initialisation": "kaiming",
    },
    "kl": {
        "steps": 20_000,
        "batch_size": 64,
        "optimizer": "adam",
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "warmup": 100,
        "clip": 1.0,
        "noise": "log-uniform",
        "weighting": "inverse-variance",
        "sigma_min": 0.01,
        "initialisation": "own",
    },
}

Count = Annotated[int, Field(ge=1)] | Literal["all"]
#: Later fields: at their defaults, keys are as before them.
ADDED = ("sigma_data", "loss", "halves", "same_initialisation", "snapshots", "split")


class PerImage(BaseModel):
    """A number of steps that grows with the number of training images: small and large sets are judged alike."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    per_image: Annotated[float, Field(gt=0, le=1e9)]
    least: Annotated[int, Field(ge=1)] = 1

    def steps(self, train_images: int) -> int:
        """Return the number of steps for a number of images."""
        return max(self.least, round(self.per_image * train_images))


def _as_steps(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    try:
        return PerImage.model_validate(given)
    except ValidationError as error:
        # In our words: pydantic's are about each alternative of the type.
        first = error.errors()[0]
        wrong = ".".join(map(str, first["loc"]))
        raise ValueError(
            f"accepted are a whole number, or {{per_image: 20, least: 500}}; {wrong}: {first['msg'].lower()}"
        ) from error


class Training(BaseModel):
    """The training of a network. Fields that a suite leaves out come from the recipe.

    Parameters
    ----------
    recipe
        ``kl`` or ``paper``.
    steps, epochs, seconds
        The budget; one of them. Steps may be given for each training image, ``{per_image: 20, least: 500}``, for sets
        whose number of images is known. A budget of seconds makes rows depend on the machine, so a suite that uses it
        must say ``allow_time_budget: true``.
    allow_time_budget
        Accept a budget of seconds; the board notes it.
    batch_size
        Images in a batch.
    train_images
        The first N images of the train split; ``all`` for the whole set, or an endless stream from a generator. A list
        is a sweep: a network for each number.
    halves
        Whether every network has a partner, trained alike on as many images of the other half: the network learns from
        split A, its partner from B.
    same_initialisation
        Whether partners start from the same weights.
    snapshots
        How many sets of weights are kept along the way, at steps equally spaced in their logarithm; the last is the
        trained network itself.
    split
        The split that images are from: ``train``, or one of its halves.
    epoch_images
        Small sets are tiled to about this many images an epoch.
    optimizer, learning_rate, weight_decay
        ``adam``, ``adamw``, ``muon`` (:class:`gahbench.training.muon.Muon`) or ``sgd``, gradient descent without
        momentum; its peak rate, and the decay.
    schedule
        ``cosine`` to zero, ``halving`` ten times over the budget, or ``constant``.
    warmup
        Steps over which the rate rises linearly.
    clip
        Bound on the norm of the gradient; null for none.
    ema
        Decay of a running average of the weights, which is then stored; null for none.
    noise, sigma_min, sigma_max
        Distribution of the noise level in training, and its range: ``log-uniform``, or ``quadratic``, the square of a
        uniform variable, scaled to the range.
    loss
        ``mse``, the mean squared error, whose minimiser is the posterior mean; ``mae``, the mean absolute error.
    weighting
        ``inverse-variance`` divides residuals by sigma; ``uniform`` does not; ``edm`` divides them by
        sigma s / sqrt(sigma^2 + s^2), s = ``sigma_data``, which is the error of the best denoiser of white noise of
        standard deviation s, so that all noise levels count alike (Karras et al. 2022, table 1).
    sigma_data
        Standard deviation of the pixels of the data, for ``edm``.
    initialisation
        ``kaiming`` draws the weights of convolutions and linear layers anew; ``own`` keeps the architecture's.
    precision
        ``auto`` trains under bfloat16 autocast where a fit takes a minute or more and its network was timed to be at
        least 15 % faster so; otherwise in ``float32``. Evaluation is in float32 always.
    compile
        ``auto`` uses torch.compile where a timed step says that the fit takes ten minutes or more without it, or three
        on a GPU.
    validations, validation_images
        How often, over the fit, the validation PSNR is measured for the history, and on how many images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    recipe: Literal["kl", "paper"] = "kl"
    steps: Annotated[Annotated[int, Field(ge=1)] | PerImage | None, BeforeValidator(_as_steps)] = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    seconds: Annotated[float, Field(gt=0)] | None = None
    allow_time_budget: bool = False
    batch_size: Annotated[int, Field(ge=1)]
    train_images: Count | Annotated[tuple[Count, ...], Field(min_length=1, strict=False)] = "all"
    halves: bool = False
    same_initialisation: bool = True
    snapshots: Annotated[int, Field(ge=0, le=1000)] = 0
    split: Literal["train", "A", "B"] = "train"
    epoch_images: Annotated[int, Field(ge=1)] = 250_000
    optimizer: Literal["adam", "adamw", "muon", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["cosine", "halving", "constant"]
    warmup: Annotated[int, Field(ge=0)]
    clip: Annotated[float, Field(gt=0)] | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    noise: Literal["log-uniform", "quadratic"]
    loss: Literal["mse", "mae"] = "mse"
    weighting: Literal["inverse-variance", "uniform", "edm"]
    sigma_data: Annotated[float, Field(gt=0)] = 0.15
    sigma_min: Annotated[float, Field(ge=0, lt=1)]
    sigma_max: Annotated[float, Field(gt=0, le=10)] = 1.0
    initialisation: Literal["kaiming", "own"]
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", "always", "never"] = "auto"
    validations: Annotated[int, Field(ge=1)] = 10
    validation_images: Annotated[int, Field(ge=1)] = 32

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        # A recipe that is not known is refused with the other fields.
        recipe = RECIPES.get(str(given.get("recipe", "kl")), RECIPES["kl"])
        budgets = [name for name in BUDGETS if given.get(name) is not None]
        defaults = {name: value for name, value in recipe.items() if not (budgets and name in BUDGETS)}
        return {**defaults, **given}

    @model_validator(mode="after")
    def _check(self) -> Self:
        budgets = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(budgets) != 1:
            given = f", not {' and '.join(budgets)}" if budgets else f": {listing(BUDGETS)}"
            raise ValueError(f"give one budget{given}")
        if self.seconds is not None and not self.allow_time_budget:
            raise ValueError(
                "a budget of seconds makes rows depend on the machine; if that is meant, add 'allow_time_budget: true'"
            )
        if isinstance(self.train_images, tuple) and len(set(self.train_images)) < len(self.train_images):
            raise ValueError(f"train_images={list(self.train_images)} repeats a number")
        if self.halves and self.split != "train":
            raise ValueError(f"halves: true trains on A and B already; split: {self.split} is for one network alone")
        if self.snapshots == 1:
            raise ValueError("snapshots=1 would be the trained network alone; accepted are 0, 2, 3, ...")
        if self.snapshots and self.budget == "seconds":
            raise ValueError("snapshots are kept at steps, which are not known beforehand for a budget of seconds")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min={self.sigma_min:g} must be below sigma_max={self.sigma_max:g}")
        if self.weighting != "edm" and self.sigma_data != type(self).model_fields["sigma_data"].default:
            raise ValueError(f"sigma_data={self.sigma_data:g} is for weighting='edm', not {self.weighting!r}")
        if self.sigma_min == 0 and (self.noise == "log-uniform" or self.weighting != "uniform"):
            raise ValueError("log-uniform noise, and weighting other than uniform, need sigma_min > 0")
        return self

    @property
    def is_sweep(self) -> bool:
        """Whether there is a network for each of several numbers of images."""
        return isinstance(self.train_images, tuple)

    @property
    def sets(self) -> tuple[Training, ...]:
        """The training for each number of images, on A where there are halves."""
        counts = self.train_images if isinstance(self.train_images, tuple) else (self.train_images,)
        split = "A" if self.halves else self.split
        return tuple(self.model_copy(update={"train_images": count, "split": split}) for count in counts)

    @property
    def partner(self) -> Training | None:
        """The same training on the other half, where there are halves."""
        return self.model_copy(update={"split": "B"}) if self.halves else None

    def key_fields(self) -> dict[str, Any]:
        """Return the fields that decide the outcome of a fit, as plain JSON."""
        fields = self.model_dump(mode="json", exclude=set(WATCHING))
        defaults = {name: type(self).model_fields[name].default for name in ADDED}
        if self.split != "B" and not self.halves:
            # It is for partners alone.
            defaults["same_initialisation"] = fields["same_initialisation"]
        return {name: value for name, value in fields.items() if name not in ADDED or value != defaults[name]}

    @property
    def weights_stream(self) -> str | None:
        """The stream of initial weights: the half of the data, for a partner with weights of its own."""
        return None if self.same_initialisation or self.split != "B" else "B"

    def snapshot_steps(self, steps: int) -> tuple[int, ...]:
        """Return the steps after which weights are kept, the last one being the end: fewer where steps coincide."""
        if not self.snapshots:
            return ()
        places = (round(steps ** (place / (self.snapshots - 1))) for place in range(self.snapshots))
        return tuple(dict.fromkeys(places))

    @property
    def budget(self) -> str:
        """Name of the budget: ``steps``, ``epochs`` or ``seconds``."""
        return next(name for name in BUDGETS if getattr(self, name) is not None)

    def total_steps(self, train_images: int | None) -> int | None:
        """Return the number of optimiser steps, given the size of the set (None: a stream); None for seconds.

        Raises
        ------
        ValueError
            If steps are for each image of a stream, whose number is none.
        """
        if isinstance(self.steps, PerImage):
            if train_images is None:
                raise ValueError(
                    "steps for each image need a number of images, and these never end; accepted: a number for "
                    "train_images, or steps: 20000"
                )
            return self.steps.steps(train_images)
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            images = tiled(train_images, self.epoch_images) if train_images else self.epoch_images
            return max(1, self.epochs * images // self.batch_size)
        return None

    def rate(self, step: int, progress: float) -> float:
        """Return the learning rate at a step, ``progress`` in [0, 1] being the part of the budget that is spent."""
        warm = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        progress, decay = min(progress, 1.0), 1.0
        if self.schedule == "cosine":
            decay = 0.5 * (1 + math.cos(math.pi * progress))
        elif self.schedule == "halving":
            decay = 0.5 ** math.floor(10 * progress)
        return self.learning_rate * warm * decay


def tiled(images: int, epoch_images: int) -> int:
    """Return the size of an epoch: the set repeated a whole number of times, to at most ``epoch_images`` or once."""
    return images * max(1, epoch_images // images)
