"""Validation of sampling settings, and the steps and noise levels that they imply."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gahbench._util.errors import ParameterError
from gahbench.sampling.settings import Sampling, make_sampling


def test_the_defaults_are_the_published_settings():
    """The settings are from Kadkhodaie & Simoncelli 2020, as used by Kadkhodaie et al. 2024."""
    settings = Sampling()
    assert (settings.sampler, settings.growth) == ("stochastic", "growing")
    assert (settings.step, settings.beta, settings.sigma_start, settings.sigma_end) == (0.01, 0.1, 1.0, 0.05)
    assert settings.step_size(1) == pytest.approx(0.01)
    assert settings.step_size(100) == pytest.approx(1 / 1.99)
    assert settings.step_limit() == 10 * settings.ideal_steps()


@given(
    step=st.floats(1e-3, 1), beta=st.floats(0.01, 1), growth=st.sampled_from(["growing", "constant"]),
    end=st.floats(0.01, 0.9),
)  # fmt: skip
def test_ideal_steps_is_the_smallest_number_that_reaches_sigma_end(step, beta, growth, end):
    settings = Sampling(step=step, beta=beta, growth=growth, sigma_end=end)
    steps = settings.ideal_steps()
    levels = [math.prod(1 - beta * settings.step_size(t) for t in range(1, n + 1)) for n in (steps - 1, steps)]
    assert levels[1] <= end * (1 + 1e-9)
    assert levels[0] >= end * (1 - 1e-9)
    assert all(0 < settings.step_size(number) <= 1 for number in (1, 2, 1000))


@given(start=st.floats(0.1, 100), ratio=st.floats(1e-4, 0.9), count=st.integers(2, 60))
def test_noise_levels_are_geometric(start, ratio, count):
    levels = Sampling(sampler="flow", sigma_start=start, sigma_end=start * ratio, levels=count).schedule()
    assert len(levels) == count
    assert (levels[0], levels[-1]) == (start, start * ratio)
    steps = [after / before for before, after in itertools.pairwise(levels)]
    assert steps == pytest.approx([ratio ** (1 / (count - 1))] * (count - 1))


BAD = {
    "unknown": ({"bta": 0.1}, "unknown sampling setting 'bta'; did you mean 'beta'? accepted: sampler, count, seed"),
    "step over 1": ({"step": 1.5}, "step=1.5: input should be less than or equal to 1"),
    "half a sample": ({"count": 1.5}, "count=1.5: input should be a valid integer"),
    "text": ({"seed": "1"}, "seed='1': input should be a valid integer"),
    "not a number": ({"sigma_start": math.nan}, "sigma_start=nan: input should be"),
    "upwards": ({"sigma_end": 1.0}, "sigma_end=1 must be below sigma_start=1"),
    "one level": ({"sampler": "flow", "levels": 1}, "levels=1: input should be greater than or equal to 2"),
    "setting of the other sampler": (
        {"sampler": "flow", "beta": 0.2},
        "beta belongs to the stochastic sampler; accepted by flow: levels, solver",
    ),
    "levels for stochastic": (
        {"levels": 20},
        "levels belongs to the flow sampler; accepted by stochastic: step, beta, growth, max_steps",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_settings_are_rejected(case):
    fields, message = BAD[case]
    with pytest.raises(ParameterError) as error:
        make_sampling(fields)
    assert message in str(error.value)
    with pytest.raises(ValidationError):
        Sampling(**fields)
