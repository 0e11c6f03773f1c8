"""maas-init: runs Canonical MAAS 3.5 in one unprivileged container.

Imports run one way: facts (settings, services, health, errors, paths) import only facts; hands (files, commands,
database, probes, supervisor, privileges, confine, log) import facts; phases (boot, configure, handover, watch, stop,
bootstrap, listen) import both; life and cli are on top.
"""

__version__ = "0.1.0"
