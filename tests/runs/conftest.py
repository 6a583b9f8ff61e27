"""What tests of runs need."""

from __future__ import annotations

import pytest


@pytest.fixture
def figures_not_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, and their files hold no pictures: matplotlib takes most of the time of a small run for these.

    For tests that look at no figure.
    """
    monkeypatch.setattr("gahbench.report.encoding.encode", lambda figure, suffix, **options: suffix.encode())
