"""From a plan to results: the runner, its workers, and their reports."""
