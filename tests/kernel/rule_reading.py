"""
Reading the rules of one namespace.

Lives here: its sections by name, its rule sets without counters.
"""

from typing import Any

from nettrace.collect.discover import Handle
from nettrace.collect.reader import Reader
from nettrace.model.section import Known, SectionKey
from nettrace.model.snapshot import Netns, Snapshot
from nettrace.model.xt import XtRuleset
from tests.kernel.bed import Space

#: A rule set with a Service in it, for iptables-restore.
KUBE = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-A - [0:0]
:KUBE-EMPTY - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-A
-A KUBE-SVC-A -p tcp -m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.1.0.7:80
-A KUBE-SVC-A -p tcp -j DNAT --to-destination 10.1.0.8:80
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


def handle(space: Space) -> Handle:
    """A handle to a space under its own name."""
    return Handle(name=space.name, path=space.path, inode=space.inode, netns=space.name)


def snapshot(space: Space, *names: str) -> Snapshot:
    """A snapshot of one namespace with these sections read."""
    with Reader([handle(space)]) as reader:
        return reader.read([SectionKey(space.name, name) for name in names], reader.skeleton())


def read(space: Space, *names: str) -> Netns:
    """One namespace with these sections read."""
    return snapshot(space, *names).namespaces[space.name]


def known(section: Any) -> Any:
    """The value of a section that has to be known."""
    assert isinstance(section, Known), section
    return section.value


def rules(ruleset: XtRuleset) -> dict[tuple[str, str], tuple[Any, ...]]:
    """(table, chain) -> policy and rules, without counters."""
    return {
        (table, chain): (known(section).policy, known(section).rules)
        for table, holder in ruleset.tables.items()
        for chain, section in known(holder).chains.items()
    }
