"""Keeps MAAS off uvloop, which loses SIGCHLD: helpers would hang and regiond and rackd be deaf to SIGTERM.

MAAS falls back to asyncio when the import fails.
"""

raise ImportError("uvloop is hidden by maas-init: it loses SIGCHLD under Twisted")
