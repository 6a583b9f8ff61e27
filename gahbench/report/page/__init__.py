"""A results folder as one self-contained HTML page: tables, figures, images, and their provenance."""
