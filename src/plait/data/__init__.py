"""Reading, splitting and drawing pairs."""
