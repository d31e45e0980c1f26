"""ufw and firewalld: recognised, named, and owners of what they write."""

from pathlib import Path

import pytest

from nettrace.app.plugins import load_plugins
from nettrace.model.nft import NftRuleset, NftTable
from nettrace.model.owner import owner_of_chain
from nettrace.model.section import Known
from nettrace.model.snapshot import Netns, NodeState, Process, Snapshot
from nettrace.parse.iptables import parse_save
from nettrace_plugins.firewall import firewalld, ufw
from nettrace_plugins.firewall.names import chain_words
from tests.diagnose.asking import diagnosed
from tests.diagnose.guided import with_section
from tests.diagnose.test_causes_kube import flushed
from tests.diagnose.worlds import cluster

FIXTURES = Path(__file__).parents[2] / "fixtures/firewalls"


def node(rules: str = "", tables: tuple[str, ...] = (), **more: object) -> Snapshot:
    """A node with rules of a fixture, and native tables by name."""
    xt = parse_save((FIXTURES / rules).read_text(), rules) if rules else None
    native = {name: NftTable(family=name.split()[0], name=name.split()[1]) for name in tables}
    space = Netns(name="n", node="n", role="node", nft=Known(NftRuleset(tables=native)))
    if xt is not None:
        space = Netns(name="n", node="n", role="node", nft=space.nft, xt_nft=Known(xt))
    state = NodeState(name="n", netns="n", **more)  # type: ignore[arg-type]
    return Snapshot(nodes={"n": state}, namespaces={"n": space})


def detected(snapshot: Snapshot) -> dict[str, list[str]]:
    """What is recognised, by what."""
    return {one.name: [e.text for e in one.evidence] for one in load_plugins().detect(snapshot)}


def test_each_is_recognised_by_what_it_wrote() -> None:
    """Chains of iptables, a table of nftables; neither is taken for the other."""
    found = detected(node("ufw-enabled.txt"))
    assert list(found) == ["ufw"]
    assert found["ufw"][0].startswith("32 chains in table filter: ufw-after-forward, ufw-after-input")
    assert list(detected(node("firewalld-iptables.txt"))) == ["firewalld"]
    assert detected(node(tables=("inet firewalld", "inet other"))) == {"firewalld": ["table inet firewalld"]}
    assert detected(node(tables=("inet other",))) == {}


def test_its_process_and_what_its_files_say() -> None:
    """A firewall that runs is there; one whose files alone are there is not."""
    files = {
        "/etc/ufw/ufw.conf": "# comment\nENABLED=no\nLOGLEVEL=low\n",
        "/etc/firewalld/firewalld.conf": "DefaultZone=public\nFlushAllOnReload=yes\nLogDenied=off\n",
    }
    running = Process(pid=5, name="firewalld", cmdline=("/usr/bin/python3", "/usr/sbin/firewalld"), netns="n")
    snapshot = node(files=Known(files), processes=Known((running,)))
    found = firewalld.nettrace_detect(snapshot)
    assert found is not None
    assert [(one.text, one.note) for one in found.evidence] == [
        ("firewalld (5)", ""),
        ("/etc/firewalld/firewalld.conf", "DefaultZone=public, FlushAllOnReload=yes"),
    ]
    assert ufw.nettrace_detect(snapshot) is None


def test_every_chain_of_the_fixtures_has_its_owner() -> None:
    """What ufw and firewalld wrote is theirs; what is not is nobody's or another's."""
    owners = load_plugins().owners()
    for fixture, name in (("ufw-enabled.txt", "ufw"), ("firewalld-iptables.txt", "firewalld")):
        tables = parse_save((FIXTURES / fixture).read_text(), fixture).tables
        for table, section in tables.items():
            assert isinstance(section, Known)
            for chain in section.value.chains:
                owner = owner_of_chain(owners, table, chain, native=False)
                built_in = chain.isupper() and "_" not in chain
                assert (owner.name if owner is not None else None) == (None if built_in else name), chain


def test_owners_of_others() -> None:
    """Agents' chains by the first letters; a stranger's has none."""
    owners = load_plugins().owners()

    def name(chain: str, table: str = "filter", *, native: bool = False) -> str:
        owner = owner_of_chain(owners, table, chain, native=native)
        return owner.name if owner is not None else ""

    assert name("KUBE-FORWARD") == "kube-proxy"
    assert name("DOCKER-USER") == "dockerd"
    assert name("cali-FORWARD") == "Felix (calico-node)"
    assert name("CILIUM_FORWARD") == "cilium-agent"
    assert name("CNI-FORWARD") == "the CNI plugin portmap"
    assert name("filter_FWD_public", "inet firewalld", native=True) == "firewalld"
    assert name("KUBE-FORWARD", "inet mine", native=True) == ""
    assert name("mine") == ""


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (
            "xt/filter/ufw-user-forward",
            "ufw: the user's rules (ufw allow, ufw deny), for what is passed on",
        ),
        (
            "xt/filter/ufw-before-logging-input",
            "ufw: logging before the user's rules (before.rules), for what comes to the node",
        ),
        ("xt/filter/ufw-not-local", "ufw: one of its chains"),
        (
            "nft/inet/firewalld/filter_IN_public_allow",
            "firewalld: zone public, what is allowed, for what comes to the node",
        ),
        ("nft/inet/firewalld/filter_FWD_public", "firewalld: zone public, for what is passed on"),
        ("xt/filter/FORWARD_ZONES", "firewalld: which zone it is, for what is passed on"),
        ("xt/filter/INPUT_direct", "firewalld: direct rules, for what comes to the node"),
        (
            "xt/nat/POSTROUTING_POLICIES_pre",
            "firewalld: policies between zones, for what leaves, after routing",
        ),
        ("xt/filter/FORWARD", None),
        ("nft/inet/other/filter_IN_public", None),
        ("links/eth0", None),
    ],
)
def test_names(thing: str, words: str | None) -> None:
    """Chains in words, by what they are for."""
    assert load_plugins().name(node(), "n", thing) == words


def test_words_of_every_chain() -> None:
    """No chain of the fixtures makes it stumble."""
    for fixture, name in (("ufw-enabled.txt", "ufw"), ("firewalld-iptables.txt", "firewalld")):
        for section in parse_save((FIXTURES / fixture).read_text(), fixture).tables.values():
            assert isinstance(section, Known)
            assert all(chain_words(name, chain).startswith(f"{name}: ") for chain in section.value.chains)


def test_who_flushed_the_rules() -> None:
    """Where kube-proxy's rules are gone and firewalld is at work, that is said beside the repair."""
    broken, flow = flushed(cluster()), ("pod/client-near", "svc/hostnames")
    plain = diagnosed(broken, *flow).findings[0]
    assert plain.cause == "rules-flushed"
    assert not any("firewalld" in note for note in plain.notes)
    table = NftTable(family="inet", name="firewalld")
    native = Known(NftRuleset(tables={"inet firewalld": table}))
    found = diagnosed(with_section(broken, "node-a", "nft", native), *flow).findings[0]
    assert found.cause == "rules-flushed"
    assert (
        "firewalld is here (its table inet firewalld): firewalld empties iptables' tables when it starts and "
        "when it is reloaded" in found.notes
    )
