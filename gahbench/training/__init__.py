"""Train an architecture on a dataset: recipes, batches, and a training loop that can stop and resume."""
