"""dns-udp-blocked: DNS works over TCP and not over UDP."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["DNS_UDP_BLOCKED"]

DNS_UDP_BLOCKED = Cause(
    id="dns-udp-blocked",
    title="DNS works over TCP and not over UDP",
    what="Queries over TCP are answered, the same ones over UDP are not.",
    shows="`dig +tcp` works, `dig` times out.",
    dies="At a rule that drops UDP, or on the way.",
    proof="Both queries, and the counter of the rule.",
    repair="Allow UDP port 53 on the way to the DNS pods.",
    owner="Whoever wrote the rule: a policy, a firewall.",
    source="k3s#6255, tailscale#5894",
    candidates=nobody,
)
