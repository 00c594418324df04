"""Captioners: images to texts; what they are made of, how good their captions are, and how they are kept."""
