"""Attacks on everything that people bring: suites, specs, images, checkpoints, folders, plugins.

``python -m tests.attack`` from the root of the repository runs them all, which takes a night; ``python -m tests.attack
suites --count 100`` some of one kind. A few of each kind are among the tests.
"""
