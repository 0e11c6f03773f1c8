"""The bench: the same work on maas-init and on its peers, each as a real process 1 (README.md beside this file)."""
