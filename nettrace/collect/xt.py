"""
iptables and ip6tables rule sets: the nft back end chain by chain, the legacy one table by table.

Lives here: which tables and chains there are (asked of the kernel, so that looking creates
none), and running iptables for those whose rules are wanted.
Not here: what the text means (nettrace.parse.iptables), native nftables (nft).
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from nettrace.collect.failure import CollectError, as_section, missing
from nettrace.collect.nf_tables import ChainSeen, TableSeen, generation, is_xt, list_tables
from nettrace.collect.session import Session
from nettrace.collect.tools import ToolFailed, find_tool, run_tool
from nettrace.model.errors import UserError
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind, Section
from nettrace.model.xt import XtChain, XtRuleset, XtTable
from nettrace.parse.iptables import parse_chain, parse_save

__all__ = ["ChainFound", "nft_ruleset", "read_chains", "read_legacy", "read_table"]

#: A chain, why it could not be read, or Known(None): there is none of that name any more.
ChainFound = Section[XtChain] | Known[None]

#: Seconds that one `iptables -S CHAIN` costs, and iptables-nft-save, alone and per chain.
_ONE_CHAIN, _SAVE, _SAVE_CHAIN = 0.005, 0.005, 0.00015

#: A rule set that changes while its chains are read is read again, this often at most.
_TRIES = 3

_LEGACY_TABLES = {
    4: Path("/proc/thread-self/net/ip_tables_names"),
    6: Path("/proc/thread-self/net/ip6_tables_names"),
}

#: Version of IP -> the command, and the family of its tables.
_COMMANDS = {4: "iptables", 6: "ip6tables"}
_FAMILIES = {4: "ip", 6: "ip6"}


def nft_ruleset(tables: Sequence[TableSeen], family: int = 4) -> XtRuleset:
    """
    Return the tables of iptables-nft (*family* 4) or ip6tables-nft (6) with their chains.

    Chains are NOT_READ but for those that are empty.

    A table that iptables would refuse is not one of these: its base chains are native ones.
    """
    return XtRuleset(
        {
            table.name: Known(XtTable({chain.name: _unread(chain) for chain in table.chains}))
            for table in tables
            if is_xt(table, family)
        }
    )


def _unread(chain: ChainSeen) -> Section[XtChain]:
    if chain.use:
        return NOT_READ
    if chain.base is None:
        return Known(XtChain(counters=()))
    policy = chain.base.policy.upper()
    return Known(XtChain(policy=policy, counters=(), policy_counters=chain.base.counters))


def read_chains(
    session: Session, table: str, wanted: Collection[str], there: int, family: int = 4
) -> Mapping[str, ChainFound]:
    """
    Read chains of one iptables-nft table that has *there* chains.

    The answer holds more than was *wanted* where reading the whole table was cheaper.
    ``Known(None)``: the chain is not there any more.
    """
    if len(wanted) * _ONE_CHAIN > _SAVE + there * _SAVE_CHAIN:
        section = read_table(session, table, family)
        if isinstance(section, Missing):
            return dict.fromkeys(wanted, section)
        gone: dict[str, ChainFound] = dict.fromkeys(wanted, Known(None))
        return {**gone, **(section.value.chains if section.value else {})}
    try:
        tool = _iptables(family, "")
        for _ in range(_TRIES):
            before = generation(session)
            found = {name: _chain(tool, table, name, family) for name in wanted}
            if len(wanted) > 1 and generation(session) != before:
                continue
            if any(isinstance(section, Missing) for section in found.values()):
                # Of a chain that is gone iptables 1.8.9 says that the table is incompatible.
                exist = _names(session, table, family)
                return {name: found[name] if name in exist else Known(None) for name in found}
            return found
    except (OSError, CollectError) as error:
        return dict.fromkeys(wanted, missing(error))
    reason = f"unstable: the rules changed each of {_TRIES} times while they were read"
    return dict.fromkeys(wanted, Missing(MissingKind.FAILED, reason))


def _names(session: Session, table: str, family: int) -> set[str]:
    return {
        chain.name
        for seen in list_tables(session)
        if seen.family == _FAMILIES[family] and seen.name == table
        for chain in seen.chains
    }


def _chain(tool: str, table: str, name: str, family: int) -> ChainFound:
    try:
        chain = parse_chain(run_tool(tool, "-t", table, "-v", "-S", name), name)
    except ToolFailed as error:
        if "No chain/target/match by that name" in error.reason:
            return Known(None)
        return missing(_incompatible(error, table, family))
    except UserError as error:
        return missing(error)
    return Known(chain) if chain is not None else Known(None)


def read_table(session: Session, table: str, family: int = 4) -> Section[XtTable | None]:
    """Read one table of iptables-nft or ip6tables-nft whole; ``Known(None)`` if it is not there any more."""

    def read() -> XtTable | None:
        tool = _iptables(family, "-save")
        try:
            text = run_tool(tool, "-c", "-t", table)
        except ToolFailed as error:
            raise _incompatible(error, table, family) from error
        if "is incompatible, use 'nft' tool" in text:
            raise _refused(table, family)
        section = parse_save(text, f"{tool} -t {table}").tables.get(table)
        if isinstance(section, Missing):
            raise CollectError(section.kind, section.reason)
        return section.value if section else None

    return as_section(read)


def read_legacy(family: int = 4) -> XtRuleset:
    """
    Read the tables of iptables-legacy (*family* 4) or ip6tables-legacy (6) of the thread's namespace.

    Only those that exist: naming another to the command would create it and register its
    hooks (iptable_filter_table_init(), net/ipv4/netfilter/iptable_filter.c).
    """
    try:
        names = _LEGACY_TABLES[family].read_text().split()
    except FileNotFoundError:
        return XtRuleset({})  # ip_tables or ip6_tables is not loaded
    command = _COMMANDS[family]
    tables: dict[str, Section[XtTable]] = {}
    for name in names:
        tool = find_tool(f"{command}-legacy-save")
        if tool is None:
            raise CollectError(
                MissingKind.UNSUPPORTED,
                f"{command}-legacy has tables ({', '.join(names)}), "
                f"but {command}-legacy-save is not installed",
            )
        tables |= parse_save(run_tool(tool, "-c", "-t", name), f"{tool} -t {name}").tables
    return XtRuleset(tables)


def _iptables(family: int, ending: str) -> str:
    """Find ``iptables-nft`` or ``ip6tables-nft`` with *ending*; without, the plain name if it is nft's."""
    command = _COMMANDS[family]
    name = f"{command}-nft{ending}"
    tool = find_tool(name)
    if tool is None:
        tool = find_tool(f"{command}{ending}")
        if tool is not None and "nf_tables" not in run_tool(tool, "--version"):
            tool = None
    if tool is None:
        raise CollectError(
            MissingKind.UNSUPPORTED,
            f"{command} is not installed: {name} is not in PATH, and there are rules that only it can print",
        )
    return tool


def _incompatible(error: ToolFailed, table: str, family: int) -> CollectError:
    return _refused(table, family) if "incompatible" in error.reason else error


def _refused(table: str, family: int) -> CollectError:
    return CollectError(
        MissingKind.UNSUPPORTED,
        f"table {table} holds nftables rules that {_COMMANDS[family]} cannot print "
        f"(nft list table {_FAMILIES[family]} {table})",
    )
