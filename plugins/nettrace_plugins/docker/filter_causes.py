"""
Causes in Docker's filter and raw tables.

Lives here: a published port whose accept is gone, networks that are kept apart, and containers that
are not to be reached past their published ports (since version 28).
"""

from collections.abc import Iterator

from nettrace.diagnose.cause import Candidate, Cause, Context, Failure
from nettrace.diagnose.look import rule_ref, subject_of, where
from nettrace.diagnose.making import by_netns, owed_candidate
from nettrace.diagnose.rules import addressed_to
from nettrace.model.change import Change, RuleDelete
from nettrace.model.finding import Evidence, Safety
from nettrace.model.owed import OwedRule
from nettrace.model.step import Verdict
from nettrace.model.xt import XtRule
from nettrace.model.xt_target import Accept
from nettrace.parse.iptables import rule_text
from nettrace_plugins.docker.containers import Container, running_containers
from nettrace_plugins.docker.filtering import PORTS
from nettrace_plugins.docker.owes import OWNER

__all__ = ["DOCKER_FILTER_ACCEPT_MISSING", "DOCKER_NETWORK_ISOLATION", "DOCKER_RAW_DIRECT_DROP"]

_DROPPED = frozenset({Verdict.DROPPED_BY_RULE})
_ISOLATING = ("DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", "DOCKER-INTERNAL")


def _accepts(context: Context) -> Iterator[Candidate]:
    packets = [packet for step in context.steps if (packet := step.after or step.before) is not None]
    wanted = [
        d
        for d in context.differences
        if isinstance(d.owed, OwedRule)
        and (d.owed.owner, d.owed.table, d.owed.chain) == (OWNER, "filter", PORTS)
        and isinstance(d.owed.rule.target, Accept)
        and any(addressed_to(d.owed.rule, packet) for packet in packets)
    ]
    for netns, found in by_netns(wanted).items():
        place = where(context.snapshot, netns)
        yield owed_candidate(
            context,
            "docker-filter-accept-missing",
            found[:1],
            f"{place} leads the published port to {found[0].about}, and chain {PORTS} does not let it pass",
            safety=Safety.KICK,
            overwritten="dockerd writes the same when the container or dockerd itself is restarted",
            lasting=(
                "restart the container, or dockerd; if this returns, something flushes the filter table "
                "(a firewall reload, iptables-restore without --noflush)"
            ),
        )


def _refusing(context: Context, failure: Failure) -> tuple[XtRule, Change] | None:
    """The rule that drops, and the change that takes it away on the model."""
    step = failure.step
    if step is None or failure.verdict not in _DROPPED or not step.rule or not step.backend:
        return None
    table, name = step.table or "", step.chain or ""
    chain = context.snapshot.chain(step.netns, step.backend, table, name)
    if chain is None or step.rule > len(chain.rules):
        return None
    rule = chain.rules[step.rule - 1]
    change = RuleDelete(
        netns=step.netns, backend=step.backend, table=table, chain=name, position=step.rule, rule=rule
    )
    return rule, change


def _advice(
    context: Context, failure: Failure, cause: str, message: str, lasting: str
) -> Iterator[Candidate]:
    found, step = _refusing(context, failure), failure.step
    if found is None or step is None:
        return
    rule, change = found
    holder = _holder(context, step.netns, step.before.dst) if step.before is not None else None
    ref = rule_ref(step.netns, step.backend or "", step.table or "", step.chain or "", step.rule)
    table = "" if step.table == "filter" else f"-t {step.table} "
    yield Candidate(
        cause=cause,
        netns=step.netns,
        where=where(context.snapshot, step.netns),
        subject=f"container/{holder.name}" if holder else subject_of(context.snapshot, step.netns),
        message=message,
        changes=(change,),
        evidence=(
            Evidence(ref=ref, text=f"{table}-A {step.chain} {rule_text(rule)}", note="what drops it"),
            Evidence(
                ref=ref, text=step.before.ends() if step.before is not None else "", note="what is dropped"
            ),
        ),
        safety=Safety.ADVICE,
        owner=OWNER,
        lasting=lasting,
    )


def _isolation(context: Context) -> Iterator[Candidate]:
    for failure in context.failures:
        step = failure.step
        if step is None or step.table != "filter" or step.chain not in _ISOLATING:
            continue
        place = where(context.snapshot, step.netns)
        yield from _advice(
            context,
            failure,
            "docker-network-isolation",
            f"Docker on {place} keeps its networks apart: {step.chain} drops what goes from one to another",
            "attach both containers to one network (docker network connect NETWORK CONTAINER); a network "
            "made with --internal has no way out at all",
        )


def _direct(context: Context) -> Iterator[Candidate]:
    for failure in context.failures:
        step = failure.step
        if step is None or (step.table, step.chain) != ("raw", "PREROUTING") or step.before is None:
            continue
        holder = _holder(context, step.netns, step.before.dst)
        if holder is None:
            continue
        place = where(context.snapshot, step.netns)
        yield from _advice(
            context,
            failure,
            "docker-raw-direct-drop",
            f"Docker on {place} lets nobody past the published ports: what is sent to {holder.name} itself "
            f"({step.before.dst}) is dropped before the filter table",
            "publish the port; or give the network -o com.docker.network.bridge.gateway_mode_ipv4=routed or "
            "nat-unprotected, or -o com.docker.network.bridge.trusted_host_interfaces=DEVICE",
        )


def _holder(context: Context, netns: str, address: str) -> Container | None:
    node = next((one.name for one in context.snapshot.nodes.values() if one.netns == netns), "")
    return next(
        (
            one
            for one in running_containers(context.snapshot, node)
            if any(network.address == address for network in one.networks)
        ),
        None,
    )


DOCKER_FILTER_ACCEPT_MISSING = Cause(
    id="docker-filter-accept-missing",
    title="a published port is translated, and not let pass",
    what=(
        "The container's record publishes a port, table nat leads it there, and chain DOCKER of table filter "
        "has no accept for it; the policy DROP, or the network's own DROP, gets it."
    ),
    shows="Connections to the published port time out from outside; the rule of table nat counts them.",
    dies="In FORWARD: at its policy, or since Docker 28 at the network's DROP in chain DOCKER.",
    proof="`iptables -S DOCKER` has no accept for the container's address and port; nat's counter rises.",
    repair="Restart the container or dockerd; until then the rule that dockerd writes.",
    owner="dockerd",
    source="moby#10354, moby#32168",
    verdicts=_DROPPED,
    candidates=_accepts,
)

DOCKER_NETWORK_ISOLATION = Cause(
    id="docker-network-isolation",
    title="two networks of Docker are kept apart",
    what=(
        "Containers of different Docker networks do not reach each other, nor each other's published ports "
        "through the host, and those of an internal network nobody outside of it."
    ),
    shows="A container times out at a container of another network; those of its own are reached.",
    dies="In DOCKER-ISOLATION-STAGE-2, or -STAGE-1 for an internal network (DOCKER-INTERNAL since 28.3).",
    proof="The rule's counter rises; `docker inspect` shows the two on different networks.",
    repair="none: attach both to one network",
    owner="dockerd, by whoever made the networks.",
    source="moby#38784, moby#18354",
    verdicts=_DROPPED,
    candidates=_isolation,
)

DOCKER_RAW_DIRECT_DROP = Cause(
    id="docker-raw-direct-drop",
    title="past its published ports nobody gets to a container",
    what=(
        "Since version 28 what comes from another device for a container's own address is dropped in table "
        "raw: routed access by a VPN, a mesh or a route on another host ends there."
    ),
    shows="The container's address times out from outside; its published ports work. DOCKER-USER has no say.",
    dies="In raw PREROUTING, before connection tracking and the filter table.",
    proof="`iptables -t raw -S PREROUTING` drops `-d ADDRESS ! -i BRIDGE`; its counter rises.",
    repair="none on the node: the network's gateway mode or its trusted interfaces",
    owner="dockerd, by whoever made the network.",
    source="moby#51015, moby#49792, moby#49509",
    verdicts=_DROPPED,
    candidates=_direct,
)
