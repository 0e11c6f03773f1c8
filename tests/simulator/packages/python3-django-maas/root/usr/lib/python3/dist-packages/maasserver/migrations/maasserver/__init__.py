"""Real names at the start and the end of the history; the build writes the rest.

A test adds migrations at run time by putting modules into
/etc/maas-simulator/migrations/ (see the simulator's README).
"""

from provisioningserver import simulation

__path__ = [*__path__, str(simulation.FOLDER / "migrations")]
