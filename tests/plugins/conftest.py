"""A fixture of tests of plugins that sample an optimum."""

import pytest

from gahbench_plugins.datasets import importance


@pytest.fixture
def few_draws(monkeypatch):
    """Sample posteriors until 200 draws are effective, not 800; this adds 0.5 % to the squared error of their means."""
    for name, value in {"LEARNING_DRAWS": 256, "DRAWS": 1024, "WANTED": 200.0}.items():
        monkeypatch.setattr(importance, name, value)
