"""The HTTP API, as far as an init and its tests need it."""
