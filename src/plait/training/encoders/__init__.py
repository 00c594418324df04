"""Training of encoders on the rows themselves."""
