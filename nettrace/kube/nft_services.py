"""
What one service port adds to kube-proxy's nftables table.

Lives here: its chains, the sets of its affinity, its elements in the maps of all.
Not here: the frame around all Services (nft_frame), which endpoints take the traffic
(endpoints).
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from nettrace.kube.endpoints import Backend
from nettrace.kube.expected import ExpectedNftChain, ExpectedNftSet
from nettrace.kube.nft_frame import local_test, mark_rule
from nettrace.kube.nft_names import Family, Layout, endpoint_name, family_words, port_name
from nettrace.kube.nft_prefixes import braced, duration
from nettrace.kube.serving import Serving
from nettrace.model.addr import in_prefix

__all__ = ["Element", "ServiceParts", "service_parts"]

#: A set that grows by rules has a bound, which is nft's where none is given.
_DYNAMIC_SIZE = 65535
#: nft takes no longer comment; kube-proxy cuts it.
_LONGEST_COMMENT = 128


class Element(Struct, frozen=True, kw_only=True):
    """One element of the set or map ``set``; ``value`` "" in a set."""

    set: str
    key: str
    value: str = ""
    comment: str = ""

    @property
    def text(self) -> str:
        """The element as nft prints it."""
        comment = f' comment "{self.comment[:_LONGEST_COMMENT]}"' if self.comment else ""
        return f"{self.key}{comment}" + (f" : {self.value}" if self.value else "")


class ServiceParts(Struct, frozen=True, kw_only=True):
    """All that one service port adds."""

    chains: tuple[ExpectedNftChain, ...]
    sets: tuple[ExpectedNftSet, ...]
    elements: tuple[Element, ...]


def service_parts(serving: Serving, layout: Layout) -> ServiceParts:
    """Return what a service port adds in its layout."""
    words = family_words(serving.port.family)
    return ServiceParts(
        chains=tuple(_chains(serving, layout, words)),
        sets=tuple(_affinity_sets(serving, words)),
        elements=tuple(_elements(serving, layout)),
    )


def _sticky(serving: Serving) -> bool:
    return serving.port.service.session_affinity == "ClientIP"


def _firewalled(serving: Serving) -> bool:
    """Source ranges guard the addresses without endpoints too: they are looked at first."""
    return bool(serving.port.load_balancer_ips and serving.port.source_ranges)


# --- elements ------------------------------------------------------------------------


def _elements(serving: Serving, layout: Layout) -> Iterator[Element]:
    port, exists = serving.port, serving.choice.exists
    if layout.mapped:
        for backend in serving.choice.reachable:
            if backend.local:
                pair = f"{backend.address} . {backend.address}"
                yield Element(set="hairpin-connections", key=f"{pair} . {port.proto} . {backend.port}")
    yield Element(set="cluster-ips", key=port.cluster_ip)
    inside = "local" if port.internal_local else "service"
    # Without any endpoint traffic is refused; where only this node has none, it is dropped.
    refusal = "drop" if exists else "goto reject-chain"
    if serving.internal:
        yield _by_address("service-ips", serving, port.cluster_ip, f"goto {port_name(inside, port)}")
    else:
        yield _refused(serving, port.cluster_ip, refusal)
    outside = f"goto {port_name('external', port)}"
    for address in (*port.external_ips, *port.load_balancer_ips):
        if exists:
            yield _by_address("service-ips", serving, address, outside)
        if not serving.external:
            yield _refused(serving, address, refusal)
    if _firewalled(serving):
        for address in port.load_balancer_ips:
            yield _by_address("firewall-ips", serving, address, f"goto {port_name('firewall', port)}")
    if port.port.node_port:
        key = f"{port.proto} . {port.port.node_port}"
        if exists:
            yield Element(set="service-nodeports", key=key, value=outside)
        if not serving.external:
            yield Element(set="no-endpoint-nodeports", key=key, value=refusal, comment=port.name)


def _by_address(name: str, serving: Serving, address: str, value: str, comment: str = "") -> Element:
    key = f"{address} . {serving.port.proto} . {serving.port.port.port}"
    return Element(set=name, key=key, value=value, comment=comment)


def _refused(serving: Serving, address: str, value: str) -> Element:
    return _by_address("no-endpoint-services", serving, address, value, serving.port.name)


# --- chains --------------------------------------------------------------------------


def _chains(serving: Serving, layout: Layout, words: Family) -> Iterator[ExpectedNftChain]:
    port, choice = serving.port, serving.choice
    sticky = _sticky(serving)
    if sticky or not layout.mapped:
        for backend in choice.reachable:
            yield ExpectedNftChain(
                name=endpoint_name("endpoint", port, backend),
                rules=tuple(_endpoint_rules(serving, backend, layout, words)),
            )
    for prefix, chosen in (("service", choice.cluster), ("local", choice.local)):
        if chosen:
            inside = (prefix == "local") == port.internal_local and serving.internal
            rules = (
                *(_masquerade_inside(serving, layout, words) if inside and not layout.mapped else ()),
                *_balance(serving, chosen, layout, words),
            )
            yield ExpectedNftChain(name=port_name(prefix, port), rules=rules)
    if choice.exists and port.externally_accessible:
        rules = tuple(_outside(serving, layout, words))
        yield ExpectedNftChain(name=port_name("external", port), rules=rules)
    if _firewalled(serving):
        allowed = [*port.source_ranges]
        # A node that asks a balancer's address that is its own has that as its source.
        if any(in_prefix(serving.settings.node_ip, prefix) for prefix in port.source_ranges):
            allowed += port.load_balancer_ips
        rule = f"{words.ip} saddr != {braced(allowed)} drop"
        yield ExpectedNftChain(name=port_name("firewall", port), rules=(rule,))


def _masquerade_inside(serving: Serving, layout: Layout, words: Family) -> Iterator[str]:
    """Before 1.36 each service port tests for itself who is no pod of this node."""
    port, settings = serving.port, serving.settings
    test = f"{words.ip} daddr {port.cluster_ip}"
    if not layout.after_dnat:
        test += f" {port.proto} dport {port.port.port}"
    if settings.masquerade_all:
        yield f"{test} jump mark-for-masquerade"
    elif settings.detector.implemented:
        yield f"{test} {local_test(settings.detector, words.ip, local=False)} jump mark-for-masquerade"


def _outside(serving: Serving, layout: Layout, words: Family) -> Iterator[str]:
    port, settings = serving.port, serving.settings
    everywhere = port_name("service", port)
    mark = mark_rule(settings.mark) if layout.mapped else "jump mark-for-masquerade"
    if not port.external_local:
        yield f'{mark} comment "masquerade"' if layout.mapped else mark
        yield f"goto {everywhere}"
        return
    if settings.detector.implemented:
        local = local_test(settings.detector, words.ip, local=True)
        yield f'{local} goto {everywhere} comment "short-circuit pod traffic"'
    yield f'fib saddr type local {mark} comment "masquerade local traffic"'
    yield f'fib saddr type local goto {everywhere} comment "short-circuit local traffic"'
    if serving.external:
        yield f"goto {port_name('local', port)}"


def _balance(serving: Serving, chosen: Sequence[Backend], layout: Layout, words: Family) -> Iterator[str]:
    port = serving.port
    if layout.mapped and not _sticky(serving):
        if layout.single and len(chosen) == 1:
            yield f"meta l4proto {port.proto} dnat to {chosen[0].text}"
            return
        ends = ", ".join(f"{i} : {one.address} . {one.port}" for i, one in enumerate(chosen))
        drawn = f"numgen random mod {len(chosen)} map {{ {ends} }}"
        yield f"meta l4proto {port.proto} dnat {words.ip} addr . port to {drawn}"
        return
    names = [endpoint_name("endpoint", port, one) for one in chosen]
    if _sticky(serving):
        for one, name in zip(chosen, names, strict=True):
            yield f"{words.ip} saddr @{endpoint_name('affinity', port, one)} goto {name}"
    ends = ", ".join(f"{i} : goto {name}" for i, name in enumerate(names))
    yield f"numgen random mod {len(chosen)} vmap {{ {ends} }}"


def _endpoint_rules(serving: Serving, backend: Backend, layout: Layout, words: Family) -> Iterator[str]:
    port = serving.port
    if not layout.mapped:
        yield f"{words.ip} saddr {backend.address} jump mark-for-masquerade"
    if _sticky(serving):
        yield f"update @{endpoint_name('affinity', port, backend)} {{ {words.ip} saddr }}"
    yield f"meta l4proto {port.proto} dnat to {backend.text}"


def _affinity_sets(serving: Serving, words: Family) -> Iterator[ExpectedNftSet]:
    if not _sticky(serving):
        return
    for backend in serving.choice.reachable:
        yield ExpectedNftSet(
            name=endpoint_name("affinity", serving.port, backend),
            type=words.address,
            flags=("dynamic", "timeout"),
            timeout=duration(serving.port.service.session_affinity_timeout),
            size=_DYNAMIC_SIZE,
        )
