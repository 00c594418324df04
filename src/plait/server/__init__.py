"""The HTTP server of `plait serve`: LitServe's application and batches, with limits, a token and a clean stop."""
