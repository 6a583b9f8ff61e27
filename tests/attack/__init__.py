"""Attacks on all inputs of users: suites, specs, images, checkpoints, results folders, plugins.

``python -m tests.attack`` from the root of the repository runs all attacks, which takes a night. ``python -m
tests.attack suites --count 100`` runs 100 cases of the campaign ``suites``. The tests run a few cases of each campaign.
"""
