"""
How kube-proxy in nftables mode names chains and sets, and the words of its rules.

Lives here: names, the words of one address family, and which layout a version has.
Not here: rules.

Sources: pkg/proxy/nftables/proxier.go of Kubernetes; the dump of 1.36 in fixtures/kube-proxy.
"""

from base64 import b32encode
from functools import lru_cache
from hashlib import sha256

from msgspec import Struct

from nettrace.kube.endpoints import Backend
from nettrace.kube.services import ProxiedPort
from nettrace.model.errors import UserError

__all__ = ["OLDEST", "Family", "Layout", "endpoint_name", "family_words", "layout", "port_name"]

#: Alpha in 1.29, with one chain endpoints-check and no set of cluster IPs.
OLDEST = (1, 30)

#: Filtering moved to priority 0 behind the DNAT; the test of the cluster IP left out the port.
_FILTERS_AFTER_DNAT = (1, 34)
#: Marks are set in place, endpoints stand in maps, hairpins in a set.
_MAPPED = (1, 36)
#: A single endpoint needs no map.
_SINGLE_WITHOUT_MAP = (1, 37)

#: A name in nf_tables has at most 256 bytes with its end (NFT_NAME_MAXLEN); kube-proxy cuts
#: what follows the prefix.
_LONGEST = 240


class Family(Struct, frozen=True, kw_only=True):
    """The words of one address family: ``ip``, ``ipv4_addr``, and the loopback that serves no NodePort."""

    ip: str
    address: str
    loopback: str


class Layout(Struct, frozen=True, kw_only=True):
    """
    What differs between versions.

    ``after_dnat``: filter chains at priority 0, and two before the DNAT; ``mapped``: no chain
    mark-for-masquerade, endpoints in a map of the rule; ``single``: one endpoint without a map.
    """

    after_dnat: bool
    mapped: bool
    single: bool


def family_words(family: int) -> Family:
    """Return the words of family 4 or 6."""
    if family == 4:
        return Family(ip="ip", address="ipv4_addr", loopback="127.0.0.0/8")
    return Family(ip="ip6", address="ipv6_addr", loopback="::1")


def layout(version: tuple[int, int]) -> Layout:
    """Return the layout of (major, minor); UserError for one that is not derived."""
    if version < OLDEST:
        raise UserError(
            f"the nftables rules of kube-proxy {version[0]}.{version[1]} are not derived",
            hint="derived are those of 1.30 and later",
        )
    return Layout(
        after_dnat=version >= _FILTERS_AFTER_DNAT,
        mapped=version >= _MAPPED,
        single=version >= _SINGLE_WITHOUT_MAP,
    )


@lru_cache(maxsize=1 << 17)
def _hashed(text: str) -> str:
    """Eight letters of the digest in base 32, then the text itself, cut where it is too long."""
    found = f"{b32encode(sha256(text.encode()).digest()[:5]).decode()}-{text}"
    return f"{found[: _LONGEST - 3]}..." if len(found) > _LONGEST else found


def _base(port: ProxiedPort) -> str:
    return f"{port.service.namespace}/{port.service.name}/{port.proto}/{port.port.name}"


def port_name(prefix: str, port: ProxiedPort) -> str:
    """Return the name of a port's chain; *prefix* is service, local, external or firewall."""
    return f"{prefix}-{_hashed(_base(port))}"


def endpoint_name(prefix: str, port: ProxiedPort, backend: Backend) -> str:
    """Return the name of an endpoint's chain (*prefix* endpoint) or set (affinity)."""
    address = backend.address.replace(":", ".")
    return f"{prefix}-{_hashed(f'{_base(port)}__{address}/{backend.port}')}"
