"""
The core's causes, one file each: id, words, evidence, candidates.

Pure.  They know Kubernetes and the kernel; a cause that needs to know another system belongs
to that system's plugin.
"""

from nettrace.diagnose.cause import Cause
from nettrace.diagnose.causes.bridge_nf_off import BRIDGE_NF_OFF
from nettrace.diagnose.causes.forward_policy_drop import FORWARD_POLICY_DROP
from nettrace.diagnose.causes.hairpin_off import HAIRPIN_OFF
from nettrace.diagnose.causes.ip_forward_off import IP_FORWARD_OFF
from nettrace.diagnose.causes.kube_postrouting_missing import KUBE_POSTROUTING_MISSING
from nettrace.diagnose.causes.masquerade_missing import MASQUERADE_MISSING
from nettrace.diagnose.causes.owed_state_missing import OWED_STATE_MISSING
from nettrace.diagnose.causes.pod_route_missing import POD_ROUTE_MISSING
from nettrace.diagnose.causes.rp_filter_strict import RP_FILTER_STRICT
from nettrace.diagnose.causes.rules_flushed import RULES_FLUSHED
from nettrace.diagnose.causes.service_jump_missing import SERVICE_JUMP_MISSING
from nettrace.diagnose.causes.service_output_jump_missing import SERVICE_OUTPUT_JUMP_MISSING
from nettrace.diagnose.causes.service_rules_absent import SERVICE_RULES_ABSENT
from nettrace.diagnose.causes.stale_endpoint_rule import STALE_ENDPOINT_RULE
from nettrace.diagnose.causes.svc_wrong_targetport import SVC_WRONG_TARGETPORT

__all__ = ["CAUSES"]

CAUSES: tuple[Cause, ...] = (
    BRIDGE_NF_OFF,
    FORWARD_POLICY_DROP,
    HAIRPIN_OFF,
    IP_FORWARD_OFF,
    KUBE_POSTROUTING_MISSING,
    MASQUERADE_MISSING,
    OWED_STATE_MISSING,
    POD_ROUTE_MISSING,
    RP_FILTER_STRICT,
    RULES_FLUSHED,
    SERVICE_JUMP_MISSING,
    SERVICE_OUTPUT_JUMP_MISSING,
    SERVICE_RULES_ABSENT,
    STALE_ENDPOINT_RULE,
    SVC_WRONG_TARGETPORT,
)
