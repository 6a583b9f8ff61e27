"""Posteriors of few parameters: by quadrature for intensities, by importance sampling around the modes for the rest."""
