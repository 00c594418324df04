"""Finding rows by picture, by words, or by both: spaces that hold rows and queries, and the index of a space."""
