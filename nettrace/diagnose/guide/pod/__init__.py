"""
The guided pod flow: why has this pod no address, or one that another has?

Pure, as the Service flow: each check is a generator that asks for what it wants to know.  From the
object over the node's share of the network, its CNI configuration and the leases, to the sandbox, the
status and the hostPorts; it stops at the first cause.
"""

from nettrace.diagnose.guide.pod.case import PodCase
from nettrace.diagnose.guide.pod.checks import POD_CHECKS, PodCheck, pod_checks_for

__all__ = ["POD_CHECKS", "PodCase", "PodCheck", "pod_checks_for"]
