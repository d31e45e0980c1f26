"""
Real rules of ufw and firewalld in a router between two hosts: what drops, whose it is, what mends it.

The rules are those of fixtures/firewalls, loaded whole; a real connection is held against the walk.
"""

from pathlib import Path

import pytest

from nettrace.app.ask import ask
from nettrace.app.context import Context
from nettrace.app.plugins import load_plugins
from nettrace.app.systems import systems
from nettrace.app.trace import diagnosis_of
from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.finding import Finding, Safety
from nettrace.model.flow import Flow
from nettrace.model.step import Verdict
from nettrace.walk import walk
from tests.kernel.bed import Bed
from tests.kernel.walkbed import Net

TRUST = (
    "firewall-cmd --permanent --zone=trusted --add-source=10.244.1.2; "
    "firewall-cmd --permanent --zone=trusted --add-source=172.18.0.2 "
    "(or the pods' network as a whole); firewall-cmd --reload"
)
ROUTE = (
    "ufw route allow from 10.244.1.2/32; ufw route allow to 10.244.1.2/32 "
    "(or for all: DEFAULT_FORWARD_POLICY in /etc/default/ufw)"
)
FIXTURES = Path(__file__).parents[2] / "fixtures/firewalls"


def routed(netns: Bed) -> Net:
    """A client, a router and a server, each in a network of its own; the server and the router listen."""
    net = Net(netns)
    net.new("client", role="other")
    net.new("router", role="node")
    net.new("server", role="other")
    net.veth("client", "eth0", "router", "eth0")
    net.veth("router", "eth1", "server", "eth0")
    net["client"].address("eth0", "10.244.1.2/24")
    net["router"].address("eth0", "10.244.1.1/24")
    net["router"].address("eth1", "172.18.0.1/24")
    net["server"].address("eth0", "172.18.0.2/24")
    net["client"].ip("route add default via 10.244.1.1")
    net["server"].ip("route add default via 172.18.0.1")
    net["router"].sysctl("net.ipv4.ip_forward", 1)
    net.listen("server", 8080)
    net.listen("router", 8080)
    return net


def load(net: Net, name: str) -> None:
    """Put a firewall's rules into the router."""
    text = (FIXTURES / name).read_text()
    if name.endswith(".nft"):
        net["router"].run("nft", "-f", "-", stdin=text)
    else:
        net["router"].run("iptables-nft-restore", stdin=text)


def findings(net: Net, flow: Flow) -> tuple[tuple[Finding, ...], Context]:
    """What is found to be the matter with a flow that should connect."""
    handles = [
        Handle(
            name=label, path=space.path, inode=space.inode, node=net.roles[label][0], role=net.roles[label][1]
        )
        for label, space in net.spaces.items()
    ]
    with Reader(handles) as reader:
        context = Context("test", reader.skeleton(), load_plugins(), reader)
        walked = ask(context, lambda snapshot: walk(snapshot, flow))
        assert walked.verdict in (Verdict.DROPPED_BY_RULE, Verdict.REJECTED)
        found = diagnosis_of(context, walked, connected=True)
        systems(context)
        return found.findings, context


@pytest.mark.parametrize(
    ("rules", "cause", "owner", "lasting"),
    [
        ("ufw-enabled.txt", "ufw-routed-deny", "ufw", ROUTE),
        ("firewalld-nftables.nft", "nft-foreign-drop", "firewalld", TRUST),
        ("firewalld-iptables.txt", "firewall-rule-drop", "firewalld", TRUST),
    ],
    ids=["ufw", "firewalld-nftables", "firewalld-iptables"],
)
def test_what_is_passed_on(netns: Bed, rules: str, cause: str, owner: str, lasting: str) -> None:
    """The firewall is named as the owner, with its own commands; nobody is offered to open it."""
    net = routed(netns)
    try:
        flow = net.flow("client", "172.18.0.2", 8080, "tcp")
        assert net.agree(flow).verdict is Verdict.DELIVERED
        load(net, rules)
        net.agree(flow)
        found, context = findings(net, flow)
        assert [one.cause for one in found] == [cause], found
        (repair,) = found[0].repairs
        assert (repair.safety, repair.changes, repair.owner) == (Safety.ADVICE, (), owner)
        assert repair.lasting == lasting
        detected = [one.name for one in context.plugins.detect(context.snapshot)]
        assert detected == [owner]
    finally:
        net.close()


@pytest.mark.parametrize(
    ("rules", "lasting"),
    [
        ("ufw-enabled.txt", "ufw allow proto tcp from 10.244.1.2 to 10.244.1.1 port 8080"),
        ("firewalld-nftables.nft", "firewall-cmd --permanent --add-port=8080/tcp; firewall-cmd --reload"),
        ("firewalld-iptables.txt", "firewall-cmd --permanent --add-port=8080/tcp; firewall-cmd --reload"),
    ],
    ids=["ufw", "firewalld-nftables", "firewalld-iptables"],
)
def test_what_comes_to_the_node(netns: Bed, rules: str, lasting: str) -> None:
    """A port that is not open: the command that opens it."""
    net = routed(netns)
    try:
        load(net, rules)
        flow = net.flow("client", "10.244.1.1", 8080, "tcp")
        net.agree(flow)
        found, _ = findings(net, flow)
        assert found[0].repairs[0].lasting == lasting, found
    finally:
        net.close()


def test_ufw_told_otherwise(netns: Bed) -> None:
    """What `ufw route allow` writes lets it through, in the walk and in the kernel."""
    net = routed(netns)
    try:
        load(net, "ufw-route-allow.txt")
        assert net.agree(net.flow("client", "172.18.0.2", 8080, "tcp")).verdict is Verdict.DELIVERED
    finally:
        net.close()
