"""Written by the build from migrations.txt."""
