"""What bandlets are made of: directions, Alpert transforms, dyadic squares, and the geometry that is chosen."""
