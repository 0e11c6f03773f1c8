"""SIMULATOR of the API token library."""
