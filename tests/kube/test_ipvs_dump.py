"""The derived IPVS state beside that which the real kube-proxy wrote for the same objects."""

import re
from collections import Counter

import pytest
from msgspec.structs import replace

from nettrace.kube.expect import expected
from nettrace.kube.expected import Expected, ExpectedIpvs, NodeFacts
from nettrace.model.ipvs import VirtualServer
from nettrace.model.section import Known
from nettrace.model.xt import XtChain, XtRuleset
from nettrace.parse.ipset import parse_ipset_save
from nettrace.parse.iptables import parse_save
from nettrace.parse.ipvs import parse_ipvsadm_save, save_ipvsadm
from nettrace.render.ipvs_text import device_text, ipset_text
from tests.kube.fixture_cluster import FIXTURES, NODE, fixture_cluster

DUMP = FIXTURES / "ipvs-1.36"
SAVES = {4: "iptables-save-c.txt", 6: "ip6tables-save-c.txt"}
#: The addresses of the node's devices when the dump was taken (eth0, cni0, lo, link-local ones).
FACTS = NodeFacts(
    addresses=(
        "127.0.0.1",
        "192.168.50.11",
        "10.244.1.1",
        "::1",
        "fd00:50::11",
        "fd00:10:244:1::1",
        "fe80::60fd:24ff:fe9b:4176",
    )
)
SERVERS = {4: 95, 6: 9}


def derived(family: int) -> Expected:
    """What nettrace derives for the same objects."""
    return expected(fixture_cluster("ipvs-1.36"), NODE, family, FACTS)


def owed(family: int) -> ExpectedIpvs:
    """The part of it that is outside of iptables."""
    ipvs = derived(family).ipvs
    assert ipvs is not None
    return ipvs


def plain(server: VirtualServer) -> VirtualServer:
    """A server without the order of its real servers."""
    return replace(server, real_servers=tuple(sorted(server.real_servers, key=lambda r: (r.address, r.port))))


@pytest.mark.parametrize("family", [4, 6])
def test_virtual_servers(family: int) -> None:
    """Each virtual server is there with its scheduler, its persistence and its real servers."""
    text = (DUMP / "ipvsadm-save-n.txt").read_text()
    wanted = {plain(one) for one in parse_ipvsadm_save(text) if (":" in one.address) == (family == 6)}
    found = {plain(one) for one in owed(family).servers}
    assert found == wanted
    assert len(owed(family).servers) == SERVERS[family]
    assert set(parse_ipvsadm_save(save_ipvsadm(owed(family).servers))) == set(owed(family).servers)


@pytest.mark.parametrize("family", [4, 6])
def test_addresses(family: int) -> None:
    """kube-ipvs0 has the addresses of all Services, and nothing else."""
    text = (DUMP / "ip-addr-kube-ipvs0.txt").read_text()
    wanted = re.findall(r"inet6 (\S+)/128" if family == 6 else r"inet (\S+)/32", text)
    assert sorted(owed(family).addresses) == sorted(wanted)
    assert device_text(owed(family)).count("scope global kube-ipvs0") == len(wanted)


@pytest.mark.parametrize("family", [4, 6])
def test_ipsets(family: int) -> None:
    """Every set has its type and its entries, the empty ones too."""
    text = (DUMP / "ipset-save.txt").read_text()
    wanted = {
        one.name: one for one in parse_ipset_save(text) if one.name.startswith("KUBE-6-") == (family == 6)
    }
    found = {one.name: one for one in parse_ipset_save(ipset_text(owed(family).ipsets))}
    assert set(found) == set(wanted)
    assert len(wanted) == 17
    for name, one in wanted.items():
        assert found[name].type == one.type
        assert sorted(found[name].members) == sorted(one.members)
    options = dict(re.findall(r"create (\S+) \S+ (.*)", text))
    for made in owed(family).ipsets:
        assert options[made.name].startswith(made.options)


def chains(rules: XtRuleset) -> dict[tuple[str, str], XtChain]:
    """All chains, without counters."""
    found = {}
    for table, section in rules.tables.items():
        assert isinstance(section, Known)
        for name, chain in section.value.chains.items():
            assert isinstance(chain, Known)
            found[table, name] = replace(chain.value, counters=None, policy_counters=None)
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_iptables_rules(family: int) -> None:
    """Every chain has the same rules, in the same order where order means something."""
    made = derived(family)
    assert made.iptables is not None
    wanted = chains(parse_save((DUMP / SAVES[family]).read_text(), SAVES[family]))
    found = chains(made.iptables)
    assert set(found) == set(wanted)
    for key, chain in wanted.items():
        assert found[key].policy == chain.policy
        if key in made.unordered:
            assert Counter(found[key].rules) == Counter(chain.rules)
        else:
            assert found[key].rules == chain.rules


def test_sysctls() -> None:
    """Those that kube-proxy sets had its values in the namespace, and strictARP adds two."""
    assert derived(4).sysctls == {
        "net.ipv4.vs.conntrack": "1",
        "net.ipv4.vs.expire_nodest_conn": "1",
        "net.ipv4.vs.expire_quiescent_template": "1",
        "net.ipv4.ip_forward": "1",
    }
    strict = fixture_cluster("ipvs-1.36", strict_arp=True)
    more = expected(strict, NODE, 4, FACTS).sysctls
    assert more["net.ipv4.conf.all.arp_ignore"] == "1"
    assert more["net.ipv4.conf.all.arp_announce"] == "2"
