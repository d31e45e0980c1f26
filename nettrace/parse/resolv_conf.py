"""
resolv.conf(5) as glibc's res_init() reads it (resolv/res_init.c).

Lives here: text to Resolver.
"""

from nettrace.model.resolver import Resolver

__all__ = ["parse_resolv_conf"]

_MAXNS = 3  # MAXNS, resolv.h: glibc asks no more than three servers
_MAX_NDOTS = 15  # RES_MAXNDOTS, resolv.h


def parse_resolv_conf(text: str, path: str = "") -> Resolver:
    """
    Return what *text* says; lines that say nothing known are passed over, as glibc does.

    ``domain`` and ``search`` replace each other, the last one counts; without a server the
    local one is asked.
    """
    servers: list[str] = []
    search: tuple[str, ...] = ()
    ndots = 1
    options: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if not words or line[0] in "#;":
            continue
        word, *rest = words
        if word == "nameserver" and rest and len(servers) < _MAXNS:
            servers.append(rest[0])
        elif word == "search":
            search = tuple(domain.rstrip(".") for domain in rest if domain.strip("."))
        elif word == "domain" and rest:
            search = (rest[0].rstrip("."),)
        elif word == "options":
            for option in rest:
                name, _, value = option.partition(":")
                if name == "ndots" and value.isdigit():
                    ndots = min(int(value), _MAX_NDOTS)
                else:
                    options.append(option)
    return Resolver(
        nameservers=tuple(servers) or ("127.0.0.1",),
        search=search,
        ndots=ndots,
        options=tuple(options),
        path=path,
    )
