"""A results folder as one HTML page that needs nothing else: tables, figures, images, and where they came from."""
