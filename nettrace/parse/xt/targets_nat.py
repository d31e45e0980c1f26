"""
Targets that rewrite addresses: DNAT, SNAT, MASQUERADE, REDIRECT.

Lives here: a grammar and a writer for each.
"""

from collections.abc import Callable
from typing import Any

from nettrace.model.packet import PortRange
from nettrace.model.xt_target import Dnat, Masquerade, Redirect, Snat, Target
from nettrace.parse.xt.options import Given, Grammar, flag, value
from nettrace.parse.xt.values import nat_range, nat_range_text, port_range

__all__ = ["GRAMMARS", "WRITERS"]


def _read_dnat(given: Given) -> Dnat:
    return Dnat(
        to=nat_range(value(given, "--to-destination") or ""),
        random=flag(given, "--random"),
        persistent=flag(given, "--persistent"),
    )


def _read_snat(given: Given) -> Snat:
    return Snat(
        to=nat_range(value(given, "--to-source") or ""),
        random=flag(given, "--random"),
        random_fully=flag(given, "--random-fully"),
        persistent=flag(given, "--persistent"),
    )


def _to_ports(given: Given) -> PortRange | None:
    text = value(given, "--to-ports")
    return None if text is None else port_range(text, "-")


def _read_masquerade(given: Given) -> Masquerade:
    return Masquerade(
        ports=_to_ports(given), random=flag(given, "--random"), random_fully=flag(given, "--random-fully")
    )


def _read_redirect(given: Given) -> Redirect:
    return Redirect(ports=_to_ports(given), random=flag(given, "--random"))


def _flags(**flags: bool) -> str:
    return "".join(f" --{name.replace('_', '-')}" for name, on in flags.items() if on)


def _write_dnat(target: Dnat) -> str:
    flags = _flags(random=target.random, persistent=target.persistent)
    return f"DNAT --to-destination {nat_range_text(target.to)}{flags}"


def _write_snat(target: Snat) -> str:
    flags = _flags(random=target.random, random_fully=target.random_fully, persistent=target.persistent)
    return f"SNAT --to-source {nat_range_text(target.to)}{flags}"


def _write_ports(ports: PortRange | None) -> str:
    return "" if ports is None else f" --to-ports {ports}"


def _write_masquerade(target: Masquerade) -> str:
    flags = _flags(random=target.random, random_fully=target.random_fully)
    return f"MASQUERADE{_write_ports(target.ports)}{flags}"


def _write_redirect(target: Redirect) -> str:
    return f"REDIRECT{_write_ports(target.ports)}{_flags(random=target.random)}"


GRAMMARS: dict[str, Grammar[Target]] = {
    "DNAT": Grammar({"--to-destination": 1, "--random": 0, "--persistent": 0}, _read_dnat),
    "SNAT": Grammar({"--to-source": 1, "--random": 0, "--random-fully": 0, "--persistent": 0}, _read_snat),
    "MASQUERADE": Grammar({"--to-ports": 1, "--random": 0, "--random-fully": 0}, _read_masquerade),
    "REDIRECT": Grammar({"--to-ports": 1, "--random": 0}, _read_redirect),
}

WRITERS: dict[type, Callable[[Any], str]] = {
    Dnat: _write_dnat,
    Masquerade: _write_masquerade,
    Redirect: _write_redirect,
    Snat: _write_snat,
}
