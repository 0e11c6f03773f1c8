"""SIMULATOR of maasapiserver."""
