"""
``ipvsadm-save -n`` text to virtual servers, and back.

Lives here: ``-A`` and ``-a`` lines (ipvsadm(8)).
Not here: asking the kernel (nettrace.collect).
"""

import re
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from nettrace.model.addr import canonical_address
from nettrace.model.errors import UserError
from nettrace.model.ipvs import RealServer, VirtualServer

__all__ = ["parse_ipvsadm_save", "save_ipvsadm"]

_PROTOS = {
    "-t": "tcp",
    "--tcp-service": "tcp",
    "-u": "udp",
    "--udp-service": "udp",
    "--sctp-service": "sctp",
}
_WORDS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
_FORWARDING = {"-m": "masq", "-g": "route", "-i": "tunnel"}
_FORWARDING_WORDS = {value: word for word, value in _FORWARDING.items()}
_END = re.compile(r"\[(?P<six>[0-9A-Fa-f:.]+)\]:(?P<port6>\d+)|(?P<four>[0-9.]+):(?P<port4>\d+)")
_DEFAULT_PERSISTENCE = 300  # ipvsadm's, where -p stands without a number

_Key = tuple[str, str, int]


def parse_ipvsadm_save(text: str) -> tuple[VirtualServer, ...]:
    """
    Return the virtual servers of an ``ipvsadm-save -n`` dump, in its order.

    Services by firewall mark (``-f``) are left out: kube-proxy has none.  UserError, with the
    line, for text that is not such a dump, names instead of numbers included.
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
    if words[1] == "-f":
        return
    proto = _PROTOS.get(words[1], "")
    if not proto:
        raise ValueError(f"no protocol is called {words[1]}")
    address, port = _end(words[2])
    key = proto, address, port
    if words[0] == "-A":
        if key in found:
            raise ValueError("the virtual server is there already")
        found[key] = _virtual(proto, address, port, words[3:])
        return
    if key not in found:
        raise ValueError("a real server stands before its virtual server")
    real = _real(words[3:])
    found[key] = replace(found[key], real_servers=(*found[key].real_servers, real))


def _end(text: str) -> tuple[str, int]:
    match = _END.fullmatch(text)
    if match is None:
        raise ValueError(f"{text} is not ADDRESS:PORT")
    port = int(match["port6"] or match["port4"])
    if port > 0xFFFF:
        raise ValueError(f"{port} is no port")
    return canonical_address(match["six"] or match["four"]), port


def _virtual(proto: str, address: str, port: int, words: list[str]) -> VirtualServer:
    one = VirtualServer(address=address, port=port, proto=proto, scheduler="wlc")
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
                one = replace(one, flags=tuple(follows.split(",")))
                next(rest, None)
            case "-M" | "--pe":
                next(rest, None)
            case "-o" | "-O":
                pass
            case other:
                raise ValueError(f"option {other} is not known")
    if not one.scheduler:
        raise ValueError("no scheduler follows -s")
    return one


def _real(words: list[str]) -> RealServer:
    address, port, weight, forwarding = "", 0, 1, "route"
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
            case "-x" | "-y" | "--tun-type" | "--tun-port":
                next(rest, None)
            case "--tun-nocsum" | "--tun-csum" | "--tun-remcsum":
                pass
            case word if word in _FORWARDING:
                forwarding = _FORWARDING[word]
            case other:
                raise ValueError(f"option {other} is not known")
    if not address:
        raise ValueError("no real server follows -r")
    return RealServer(address=address, port=port, weight=weight, forwarding=forwarding)


def save_ipvsadm(servers: Iterable[VirtualServer]) -> str:
    """Return the servers as ``ipvsadm-save -n`` writes them."""
    return "".join(f"{line}\n" for server in servers for line in _lines(server))


def _lines(server: VirtualServer) -> Iterator[str]:
    where = f"{_WORDS[server.proto]} {_text(server.address, server.port)}"
    persistent = f" -p {server.persistent}" if server.persistent is not None else ""
    flags = f" -b {','.join(server.flags)}" if server.flags else ""
    yield f"-A {where} -s {server.scheduler}{persistent}{flags}"
    for real in server.real_servers:
        way = _FORWARDING_WORDS[real.forwarding]
        yield f"-a {where} -r {_text(real.address, real.port)} {way} -w {real.weight}"


def _text(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
