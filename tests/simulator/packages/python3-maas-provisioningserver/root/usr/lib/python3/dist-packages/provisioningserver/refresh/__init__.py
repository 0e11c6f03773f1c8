"""Scripts that look at a controller, run through `sudo -E`."""
