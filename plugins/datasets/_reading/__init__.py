"""Images from files: found, decoded, checked, cropped, resized, split, and kept."""
