"""The check of names, asked with chosen answers."""

from typing import Any

from nettrace.model.change import RuleInsert
from nettrace.model.guide import Check, CheckState
from nettrace.model.lookup import DnsAnswer
from nettrace.parse.iptables import parse_rule
from tests.diagnose.guided import (
    answers,
    case,
    check,
    with_resolver,
)
from tests.diagnose.worlds import World

PASSED, PROBLEM, UNKNOWN, SKIPPED = (
    CheckState.PASSED,
    CheckState.PROBLEM,
    CheckState.UNKNOWN,
    CheckState.SKIPPED,
)
FULL = "hostnames.default.svc.cluster.local"
RIGHT = DnsAnswer(rcode="NOERROR", records=("10.96.10.1",))
NONE = DnsAnswer(rcode="NXDOMAIN")


def asked(world: World | None = None, given: Any = None, **by_proto: DnsAnswer | None) -> Check:
    """The check with these answers over UDP and TCP."""
    by_proto.setdefault("tcp", by_proto.get("udp"))
    return check("dns", world or with_resolver(), given or case(), queries=answers(**by_proto))


def dropping(rule: str, chain: str = "FORWARD", netns: str = "node-a") -> World:
    """A world in which a foreign rule stands first in a chain."""
    return with_resolver().edited(
        RuleInsert(netns=netns, backend="nft", table="filter", chain=chain, position=1, rule=parse_rule(rule))
    )
