"""SIMULATOR of maasserver: test equipment of maas-init."""
