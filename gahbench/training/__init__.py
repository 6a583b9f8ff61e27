"""Training of an architecture on a dataset: recipes, batches, and the loop that can stop and resume."""
