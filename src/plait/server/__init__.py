"""The HTTP server of `plait serve`: Starlette and uvicorn, with batches, limits, a token and a clean stop."""
