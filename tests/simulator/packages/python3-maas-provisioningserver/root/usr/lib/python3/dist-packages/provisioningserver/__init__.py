"""SIMULATOR of MAAS's provisioningserver: test equipment of maas-init."""
