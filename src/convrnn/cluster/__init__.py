"""Runs independent work as tasks of an existing Ray cluster; the counterpart of :mod:`convrnn.processes`.

Needs the extra ``ray``. Every node needs the software of this machine, and the files of the work at the same paths.
"""

from convrnn.cluster.cluster import Cluster
from convrnn.cluster.nodes import Needs, Node

__all__ = ["Cluster", "Needs", "Node"]
