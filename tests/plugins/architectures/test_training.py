"""Every architecture trains at toy size."""

import pytest
from small_plugins import NEEDS, SMALL, mark_extras

import gahbench
from gahbench.registry.registry import Registry
from gahbench.registry.spec import format_value

pytestmark = pytest.mark.usefixtures("figures_not_rendered")

#: All architectures except scunet, which takes over a second per step; the contract check trains it.
NAMES = [name for name in Registry().names("architecture") if name != "scunet"]
SUITE = """
name: toy
datasets:
  - discs: {size: SIZE}
entrants: [identity]
training: {steps: 50, batch_size: 8, learning_rate: 5.0e-3, sigma_min: 0.3, warmup: 5, compile: never,
  validations: 1, validation_images: 2}
scoring: {sigmas: [0.5], images: 8}
"""


@pytest.mark.parametrize("name", mark_extras(NAMES))
def test_every_architecture_trains_and_improves_on_the_noisy_images(write_suite, tmp_path, name):
    given = ",".join(f"{key}={format_value(value)}" for key, value in SMALL.get(name, {}).items())
    entrant = f"{name}[{given}]" if given else name
    # Networks of deepinv pad smaller images to 32 pixels.
    suite = write_suite(text=SUITE.replace("SIZE", "32" if name in NEEDS else "16"))
    outcome = gahbench.run(suite, tmp_path / "out", engine="inline[trusted=true]", entrants=[entrant])
    assert (outcome.failed, outcome.waiting) == (0, 0)
    board = outcome.leaderboard(full=True)
    (gain,) = board.loc[board["kind"] == "trained", "gain_over_noisy"]
    assert gain > 0.5
