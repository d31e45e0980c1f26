"""
The rules that the CNI plugins owe for each sandbox that they attached.

Lives here: hostPorts (plugins/meta/portmap/portmap.go), masquerade (pkg/ip/ipmasq_linux.go), accepts
(plugins/meta/firewall/iptables.go).  Each is written once, when the pod comes, and never again.
A hostPort's chain in another version's layout is owed as it is, as long as it leads to the pod.
"""

from collections.abc import Iterator

from nettrace.model.owed import Owed, OwedChain, OwedRule
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Snapshot
from nettrace.model.xt import BACKENDS, XtRule
from nettrace.model.xt_target import Dnat
from nettrace.parse.iptables import parse_rule
from nettrace_plugins.cni.attached import (
    Attached,
    attached,
    dnat_chain,
    masq_chain,
    ports_of,
    unmapped_pods,
)

__all__ = ["FIREWALL", "HOSTPORT", "MASQ", "OWNERS", "PORTMAP", "UNMAPPED", "owed_by_cni"]

PORTMAP = "the CNI plugin portmap"
MASQ = "the CNI plugin's ipMasq"
FIREWALL = "the CNI plugin firewall"
#: Who owes a hostPort where no plugin is configured that would map it.
UNMAPPED = "kubelet's hostPorts"
OWNERS = (PORTMAP, MASQ, FIREWALL)

HOSTPORT = "CNI-HOSTPORT-DNAT"
_SETMARK, _HOSTPORT_MASQ = "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
_FORWARD, _ADMIN = "CNI-FORWARD", "CNI-ADMIN"


def owed_by_cni(snapshot: Snapshot, node: str) -> Iterator[Owed]:
    """Yield what the CNI plugins owe *node*."""
    state = snapshot.nodes.get(node)
    if state is None:
        return
    everyone = tuple(attached(snapshot, node))
    mapped = [one for one in everyone if _maps(one)]
    if mapped:
        yield from _frame(state.netns, mapped[0])
    for one in mapped:
        yield from _ports(snapshot, state.netns, one)
    for one in everyone:
        first = one.conf.plugins[0]
        if first.settings.get("ipMasq") and first.settings.get("ipMasqBackend", "iptables") == "iptables":
            yield from _masquerade(state.netns, one)
    guarded = [one for one in everyone if _guards(snapshot, state.netns, one)]
    if guarded:
        yield _jump(state.netns, guarded[0], "filter", "FORWARD", _FORWARD, FIREWALL)
    for one in guarded:
        yield from _accepts(state.netns, one)
    for pod, conf in unmapped_pods(snapshot, node):
        for number, inside, proto in ports_of(pod):
            yield OwedRule(
                netns=state.netns,
                owner=UNMAPPED,
                source=f"pod {pod.key}: hostPort {number}; {conf.path} has no plugin for it",
                about=f"hostPort {number}/{proto} of pod {pod.key}",
                subject=f"pod/{pod.key}",
                table="nat",
                chain="PREROUTING",
                rule=parse_rule(
                    f"-p {proto} -m addrtype --dst-type LOCAL -m {proto} --dport {number} "
                    f"-j DNAT --to-destination {pod.ips[0]}:{inside}"
                ),
            )


def _maps(one: Attached) -> bool:
    portmap = one.plugin("portmap")
    backend = portmap.settings.get("backend", "iptables") if portmap is not None else ""
    return bool(one.sandbox.ports) and backend == "iptables"


def _frame(netns: str, one: Attached) -> Iterator[Owed]:
    """Yield what all hostPorts share."""
    for chain in ("PREROUTING", "OUTPUT"):
        yield _jump(netns, one, "nat", chain, HOSTPORT, PORTMAP, "-m addrtype --dst-type LOCAL")
    yield _jump(netns, one, "nat", "POSTROUTING", _HOSTPORT_MASQ, PORTMAP)
    for chain, text, about in (
        (_SETMARK, "-j MARK --set-xmark 0x2000/0x2000", "mark of what is to be masqueraded"),
        (_HOSTPORT_MASQ, "-m mark --mark 0x2000/0x2000 -j MASQUERADE", "masquerade of what bears the mark"),
    ):
        yield OwedChain(
            netns=netns,
            owner=PORTMAP,
            source=one.conf.path,
            about=about,
            table="nat",
            chain=chain,
            rules=(parse_rule(text),),
        )


def _jump(netns: str, one: Attached, table: str, chain: str, to: str, owner: str, test: str = "") -> OwedRule:
    # no OwedJump: nobody is there to be restarted, who would write it again
    return OwedRule(
        netns=netns,
        owner=owner,
        source=one.conf.path,
        about=f"jump to {to}",
        table=table,
        chain=chain,
        rule=parse_rule(f"{test} -j {to}".strip()),
    )


def _ports(snapshot: Snapshot, netns: str, one: Attached) -> Iterator[Owed]:
    """Yield the jump to a sandbox's chain, and its rules there."""
    name = dnat_chain(one.sandbox)
    for proto in dict.fromkeys(proto for _, _, proto in one.sandbox.ports):
        numbers = [number for number, _, of in one.sandbox.ports if of == proto]
        for start in range(0, len(numbers), 15):  # multiport takes no more
            some = ",".join(map(str, numbers[start : start + 15]))
            text = f"-p {proto} -m multiport --dports {some} -j {name}"
            yield _rule(netns, one, HOSTPORT, parse_rule(text), f"hostPorts of {one.about}")
    for number, inside, proto in one.sandbox.ports:
        target = f"-p {proto} -m {proto} --dport {number}"
        about = f"hostPort {number}/{proto} of {one.about}"
        led = parse_rule(f"{target} -j DNAT --to-destination {one.address}:{inside}")
        standing = _standing(snapshot, netns, name, led)
        if standing is None and _is_read(snapshot, netns, name):
            sources = [*([one.subnet] if one.subnet else []), "127.0.0.1/32"]
            for source in sources:
                mark = parse_rule(f"-s {source} {target} -j {_SETMARK}")
                yield _rule(netns, one, name, mark, f"mark for {about}")
        yield _rule(netns, one, name, standing or led, about)


def _standing(snapshot: Snapshot, netns: str, chain: str, rule: XtRule) -> XtRule | None:
    """Return the rule of a chain that leads where *rule* does."""
    for backend in BACKENDS:
        found = snapshot.chain(netns, backend, "nat", chain)
        for one in found.rules if found is not None else ():
            if isinstance(one.target, Dnat) and one.target == rule.target and one.proto == rule.proto:
                return one
    return None


def _is_read(snapshot: Snapshot, netns: str, chain: str) -> bool:
    """Is it known how the chain is laid out, or that there is none?"""
    keys = (SectionKey(netns, f"xt/{backend}/nat/{chain}") for backend in BACKENDS)
    return any(isinstance(snapshot.section(key), Known) for key in keys)


def _rule(netns: str, one: Attached, chain: str, rule: XtRule, about: str) -> OwedRule:
    return OwedRule(
        netns=netns,
        owner=PORTMAP,
        source=one.sandbox.path,
        about=about,
        subject=one.subject,
        table="nat",
        chain=chain,
        rule=rule,
    )


def _masquerade(netns: str, one: Attached) -> Iterator[Owed]:
    if not one.subnet:
        return
    name, about = masq_chain(one.sandbox), f"masquerade of {one.about}"
    yield OwedChain(
        netns=netns,
        owner=MASQ,
        source=one.sandbox.path,
        about=about,
        subject=one.subject,
        table="nat",
        chain=name,
        rules=(parse_rule(f"-d {one.subnet} -j ACCEPT"), parse_rule("! -d 224.0.0.0/4 -j MASQUERADE")),
    )
    yield OwedRule(
        netns=netns,
        owner=MASQ,
        source=one.sandbox.path,
        about=about,
        subject=one.subject,
        table="nat",
        chain="POSTROUTING",
        rule=parse_rule(f"-s {one.address}/32 -j {name}"),
    )


def _guards(snapshot: Snapshot, netns: str, one: Attached) -> bool:
    firewall = one.plugin("firewall")
    if firewall is None:
        return False
    if firewall.settings.get("backend") == "iptables":
        return True
    # without a back end it is firewalld's where that runs
    return any(snapshot.chain(netns, backend, "filter", _FORWARD) is not None for backend in BACKENDS)


def _accepts(netns: str, one: Attached) -> Iterator[Owed]:
    for text in (
        f"-d {one.address}/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"-s {one.address}/32 -j ACCEPT",
    ):
        yield OwedRule(
            netns=netns,
            owner=FIREWALL,
            source=one.sandbox.path,
            about=f"accept for {one.about}",
            subject=one.subject,
            table="filter",
            chain=_FORWARD,
            rule=parse_rule(text),
        )
