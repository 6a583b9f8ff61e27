"""Architectures that train more than their recipe allows, in different ways; see .github/SECURITY.md."""

import re
import time

import torch
from torch import nn

import gahbench


@gahbench.hookimpl
def register_architectures(register):
    for architecture in (Plain, *CHEATS):
        register(architecture.name, architecture)


CHEATS = []


class Plain(nn.Module):
    """An honest network of two convolutions that estimate the noise; base of all cheats."""

    name = "plain"

    def __init_subclass__(cls):
        cls.name = "fit" + re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", cls.__name__)
        CHEATS.append(cls)

    def __init__(self, channels: int, width: int = 4):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.last = nn.Conv2d(width, channels, 3, padding=1, bias=False)
        if not self.first.weight.is_meta:
            self.prepare()

    def prepare(self):
        """Cheat before training."""

    def forward(self, noisy, sigma):
        return noisy - self.last(self.first(noisy).relu())

    def learn(self, steps, seed=0):
        """Train for some additional steps on images of constant brightness."""
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(self.parameters(), 1e-2)
        with torch.enable_grad():
            for _ in range(steps):
                clean = torch.rand(8, 1, 1, 1, generator=generator).expand(8, 1, 8, 8)
                noisy = clean + 0.3 * torch.randn(8, 1, 8, 8, generator=generator)
                optimizer.zero_grad()
                (Plain.forward(self, noisy, None) - clean).square().mean().backward()
                optimizer.step()


class LearnsAtRandom(Plain):
    """Trains in its constructor, on different images each time."""

    def prepare(self):
        self.learn(5, seed=time.time_ns())


class LearnsInConstructor(Plain):
    """Trains in its constructor, on the same images each time."""

    def prepare(self):
        self.learn(30)


class LearnsInForward(Plain):
    """Trains in every forward pass in training."""

    def forward(self, noisy, sigma):
        if self.training and not noisy.is_meta:
            gradients = [parameter.grad for parameter in self.parameters()]
            self.learn(2)
            for parameter, gradient in zip(self.parameters(), gradients, strict=True):
                parameter.grad = gradient
        return super().forward(noisy, sigma)


class LearnsInHook(Plain):
    """Changes its weights in a hook before forward passes in training."""

    def prepare(self):
        self.register_forward_pre_hook(lambda module, arguments: module.shrink() if module.training else None)

    def shrink(self):
        for parameter in self.parameters():
            parameter.data.mul_(0.99)


class LearnsWhenScored(Plain):
    """Changes its weights in every forward pass in evaluation."""

    def forward(self, noisy, sigma):
        if not self.training and not noisy.is_meta:
            self.last.weight.data.mul_(1.01)
        return super().forward(noisy, sigma)


class RepeatsSteps(Plain):
    """Replaces the step of the trainer by five steps."""

    def prepare(self):
        from gahbench.training.trainer import Trainer

        step = Trainer.step
        Trainer.step = lambda trainer, number, fraction: [step(trainer, number, fraction) for _ in range(5)][-1]


class RepeatsOptimizer(Plain):
    """Replaces the step of torch's optimiser by five steps, under the original name."""

    def prepare(self):
        step = torch.optim.Adam.step

        def step_repeatedly(optimizer, closure=None):
            return [step(optimizer, closure) for _ in range(5)][-1]

        step_repeatedly.__name__, step_repeatedly.hooked = "step", True
        torch.optim.Adam.step = step_repeatedly


class SlowsClock(Plain):
    """Replaces the trainer's clock by a clock that is a thousand times slower."""

    def prepare(self):
        from gahbench.training import trainer

        class Clock:
            @staticmethod
            def monotonic():
                return time.monotonic() / 1000

        trainer.time = Clock()


class QuietsNoise(Plain):
    """Halves the noise of training."""

    def prepare(self):
        from gahbench.training import trainer

        draw = trainer.draw_training_noise
        trainer.draw_training_noise = lambda *arguments: (lambda sigma, noise: (sigma, noise / 2))(*draw(*arguments))


class HooksOptimizers(Plain):
    """Registers a hook that runs after each step of any optimiser, and could take further steps."""

    def prepare(self):
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(lambda *arguments: None)
