"""Runs at work outside Python: the web page, the server, exported graphs."""
