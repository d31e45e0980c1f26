"""
``ipvsadm-save -n`` text to virtual servers, and back.

Lives here: ``-A`` and ``-a`` lines (ipvsadm(8)).
Not here: asking the kernel (nettrace.collect).
"""

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from msgspec.structs import replace

from nettrace.model.addr import canonical_address
from nettrace.model.errors import UserError
from nettrace.model.ipvs import RealServer, VirtualServer

__all__ = [
    "end_text",
    "parse_ipvsadm_save",
    "real_words",
    "save_ipvsadm",
    "server_options",
    "server_words",
]

_PROTOS = {
    "-t": "tcp",
    "--tcp-service": "tcp",
    "-u": "udp",
    "--udp-service": "udp",
    "--sctp-service": "sctp",
}
_WORDS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
_FORWARDING = {"-m": "masq", "-g": "route", "-i": "tunnel"}
#: A real server that is the director itself is written as one by route.
_FORWARDING_WORDS = {value: word for word, value in _FORWARDING.items()} | {"local": "-g", "bypass": "-g"}
_END = re.compile(r"\[(?P<six>[0-9A-Fa-f:.]+)\]:(?P<port6>\d+)|(?P<four>[0-9.]+):(?P<port4>\d+)")
_DEFAULT_PERSISTENCE = 300  # ipvsadm's, where -p stands without a number

_Key = tuple[str, str, int, int, bool]


def parse_ipvsadm_save(text: str) -> tuple[VirtualServer, ...]:
    """
    Return the virtual servers of an ``ipvsadm-save -n`` dump, in its order.

    UserError, with the line, for text that is not such a dump, names instead of numbers included.
    """
    found: dict[_Key, VirtualServer] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            _read(words, found)
        except (ValueError, IndexError) as error:
            raise UserError(
                f"`{line.strip()[:80]}` is not a line of ipvsadm-save -n"
                + (f": {error}" if str(error) and isinstance(error, ValueError) else ""),
                where=f"ipvsadm-save, line {number}",
                hint="take the dump again: ipvsadm-save -n > FILE",
            ) from None
    return tuple(found.values())


def _read(words: list[str], found: dict[_Key, VirtualServer]) -> None:
    if words[0] not in ("-A", "-a"):
        raise ValueError("it begins with neither -A nor -a")
    plain = _named(words)
    rest = words[4:] if words[3:4] == ["-6"] else words[3:]
    key = plain.proto, plain.address, plain.port, plain.fwmark, plain.six
    if words[0] == "-A":
        if key in found:
            raise ValueError("the virtual server is there already")
        found[key] = _virtual(plain, rest)
        return
    if key not in found:
        raise ValueError("a real server stands before its virtual server")
    real = _real(rest)
    found[key] = replace(found[key], real_servers=(*found[key].real_servers, real))


def _named(words: list[str]) -> VirtualServer:
    """Return the virtual server that a line is about: by address and port, or by mark."""
    if words[1] == "-f":
        return VirtualServer(
            address="", port=0, proto="", fwmark=int(words[2]), six=words[3:4] == ["-6"], scheduler="wlc"
        )
    proto = _PROTOS.get(words[1], "")
    if not proto:
        raise ValueError(f"no protocol is called {words[1]}")
    address, port = _end(words[2])
    return VirtualServer(address=address, port=port, proto=proto, scheduler="wlc")


def _end(text: str) -> tuple[str, int]:
    match = _END.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is not ADDRESS:PORT")
    port = int(match["port6"] or match["port4"])
    if port > 0xFFFF:
        raise ValueError(f"{port} is no port")
    return canonical_address(match["six"] or match["four"]), port


def _virtual(one: VirtualServer, words: list[str]) -> VirtualServer:
    rest = iter(range(len(words)))
    for index in rest:
        follows = words[index + 1] if index + 1 < len(words) else ""
        match words[index]:
            case "-s":
                one = replace(one, scheduler=follows)
                next(rest, None)
            case "-p":
                given = follows.isdecimal()
                one = replace(one, persistent=int(follows) if given else _DEFAULT_PERSISTENCE)
                if given:
                    next(rest, None)
            case "-b":
                one = replace(one, flags=(*follows.split(","), *one.flags))
                next(rest, None)
            case "-M":
                one = replace(one, netmask=_length(follows))
                next(rest, None)
            case "--pe":
                one = replace(one, engine=follows)
                next(rest, None)
            case "-o" | "-O" | "--ops":
                one = replace(one, flags=(*one.flags, "ops"))
            case other:
                raise ValueError(f"option {other} is not known")
    if not one.scheduler:
        raise ValueError("no scheduler follows -s")
    return one


def _length(mask: str) -> int | None:
    """Return how many bits of a client's address a mask or a length keeps; None for all."""
    if "." not in mask:
        return int(mask) if int(mask) < 128 else None
    length = int.from_bytes(ip_address(mask).packed, "big").bit_count()
    return length if length < 32 else None


def _real(words: list[str]) -> RealServer:
    address, port, weight, forwarding, tunnel = "", 0, 1, "route", "ipip"
    upper = lower = 0
    rest = iter(range(len(words)))
    for index in rest:
        follows = words[index + 1] if index + 1 < len(words) else ""
        match words[index]:
            case "-r":
                address, port = _end(follows)
                next(rest, None)
            case "-w":
                weight = int(follows)
                next(rest, None)
            case "-x":
                upper = int(follows)
                next(rest, None)
            case "-y":
                lower = int(follows)
                next(rest, None)
            case "--tun-type":
                tunnel = follows
                next(rest, None)
            case "--tun-port":
                next(rest, None)
            case "--tun-nocsum" | "--tun-csum" | "--tun-remcsum":
                pass
            case word if word in _FORWARDING:
                forwarding = _FORWARDING[word]
            case other:
                raise ValueError(f"option {other} is not known")
    if not address:
        raise ValueError("no real server follows -r")
    return RealServer(
        address=address,
        port=port,
        weight=weight,
        forwarding=forwarding,
        upper=upper,
        lower=lower,
        tunnel=tunnel,
    )


def save_ipvsadm(servers: Iterable[VirtualServer]) -> str:
    """Return the servers as ``ipvsadm-save -n`` writes them."""
    return "".join(f"{line}\n" for server in servers for line in _lines(server))


def server_words(server: VirtualServer) -> str:
    """Return how ipvsadm names a virtual server: ``-t 10.96.0.1:80``, ``-f 7``."""
    if server.fwmark:
        return f"-f {server.fwmark}{' -6' if server.six else ''}"
    return f"{_WORDS[server.proto]} {end_text(server.address, server.port)}"


def server_options(server: VirtualServer) -> str:
    """Return how ipvsadm writes scheduler, persistence and flags, behind the name."""
    found = f"-s {server.scheduler}"
    if server.persistent is not None:
        found += f" -p {server.persistent}"
        if server.netmask is not None:
            long = 128 if server.family == 6 else 32
            mask = (1 << long) - (1 << long - server.netmask)
            found += f" -M {server.netmask if server.family == 6 else ip_address(mask)}"
    if server.engine:
        found += f" --pe {server.engine}"
    flags = [flag for flag in server.flags if flag != "ops"]
    return found + (f" -b {','.join(flags)}" if flags else "") + (" -o" if "ops" in server.flags else "")


def real_words(real: RealServer) -> str:
    """Return how ipvsadm writes a real server: address, way of forwarding, weight, thresholds."""
    found = f"-r {end_text(real.address, real.port)} {_FORWARDING_WORDS[real.forwarding]} -w {real.weight}"
    if real.tunnel != "ipip" and real.forwarding == "tunnel":
        found += f" --tun-type {real.tunnel}"
    return found + (f" -x {real.upper}" if real.upper else "") + (f" -y {real.lower}" if real.lower else "")


def _lines(server: VirtualServer) -> Iterator[str]:
    where = server_words(server)
    yield f"-A {where} {server_options(server)}"
    for real in server.real_servers:
        yield f"-a {where} {real_words(real)}"


def end_text(address: str, port: int) -> str:
    """Return an address with its port, as ipvsadm reads it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
