"""Parts of bandlets: flows, Alpert transforms, dyadic squares, and the search for the geometry."""
