"""Parts of bandlets: directions, Alpert transforms, dyadic squares, and the chosen geometry."""
