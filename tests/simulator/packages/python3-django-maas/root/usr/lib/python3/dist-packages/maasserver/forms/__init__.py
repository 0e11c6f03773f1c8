"""Forms: what the API and MAAS's pages check values with."""
