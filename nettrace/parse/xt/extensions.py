"""
Matches and targets that are kept as checked text: which options each has.

Lives here: the grammars of Extension and ExtensionTarget, and taking their text apart.
Not here: the matches and targets with types of their own (matches_*, targets_*), what any of
them means to a packet (nettrace.walk).
Source: ``iptables -m NAME -h`` and ``iptables -j NAME -h`` of 1.8.9, libxt_*.c, libip6t_*.c.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nettrace.model.xt_match import Extension
from nettrace.model.xt_target import ExtensionTarget
from nettrace.parse.xt.options import Grammar, Option, option_name, read_options
from nettrace.parse.xt.words import words

__all__ = ["EXTENSION_MATCHES", "EXTENSION_TARGETS", "extension_options"]

#: Match -> its options; ``=`` stands for a value.
_MATCHES = {
    "ah": "ahspi= ahlen= ahres",
    "bpf": "bytecode= object-pinned=",
    "cgroup": "cgroup= path=",
    "cluster": "cluster-total-nodes= cluster-local-node= cluster-local-nodemask= cluster-hash-seed=",
    "connbytes": "connbytes= connbytes-dir= connbytes-mode=",
    "connlabel": "label= set",
    "connlimit": "connlimit-upto= connlimit-above= connlimit-mask= connlimit-saddr connlimit-daddr",
    "cpu": "cpu=",
    "devgroup": "src-group= dst-group=",
    "dscp": "dscp= dscp-class=",
    "dst": "dst-len= dst-opts=",
    "ecn": "ecn-tcp-cwr ecn-tcp-ece ecn-ip-ect=",
    "esp": "espspi=",
    "eui64": "",
    "frag": "fragid= fraglen= fragres fragfirst fragmore fraglast",
    "hashlimit": "hashlimit-upto= hashlimit-above= hashlimit-burst= hashlimit-mode= hashlimit-srcmask= "
    "hashlimit-dstmask= hashlimit-name= hashlimit-htable-size= hashlimit-htable-max= "
    "hashlimit-htable-gcinterval= hashlimit-htable-expire= hashlimit-rate-match hashlimit-rate-interval=",
    "hbh": "hbh-len= hbh-opts=",
    "helper": "helper=",
    "hl": "hl-eq= hl-lt= hl-gt=",
    "ipcomp": "ipcompspi= compres",
    "iprange": "src-range= dst-range=",
    "ipv6header": "header= soft",
    "ipvs": "ipvs vproto= vaddr= vport= vdir= vmethod= vportctl=",
    "l2tp": "tid= sid= pversion= type=",
    "length": "length=",
    "mac": "mac-source=",
    "mh": "mh-type=",
    "osf": "genre= ttl= log=",
    "owner": "uid-owner= gid-owner= socket-exists suppl-groups",
    "pkttype": "pkt-type=",
    "policy": "dir= pol= strict reqid= spi= proto= mode= tunnel-src= tunnel-dst= next",
    "quota": "quota=",
    "rateest": "rateest= rateest1= rateest2= rateest-delta rateest-bps= rateest-bps1= rateest-bps2= "
    "rateest-pps= rateest-pps1= rateest-pps2= rateest-lt rateest-gt rateest-eq",
    "realm": "realm=",
    "rt": "rt-type= rt-segsleft= rt-len= rt-0-res rt-0-addrs= rt-0-not-strict",
    "socket": "transparent nowildcard restore-skmark",
    "srh": "srh-next-hdr= srh-hdr-len-eq= srh-hdr-len-gt= srh-hdr-len-lt= srh-segs-left-eq= "
    "srh-segs-left-gt= srh-segs-left-lt= srh-last-entry-eq= srh-last-entry-gt= srh-last-entry-lt= "
    "srh-tag= srh-psid= srh-nsid= srh-lsid=",
    "string": "string= hex-string= algo= from= to= icase",
    "tcpmss": "mss=",
    "time": "datestart= datestop= timestart= timestop= monthdays= weekdays= kerneltz contiguous",
    "tos": "tos=",
    "ttl": "ttl-eq= ttl-lt= ttl-gt=",
    "u32": "u32=",
}

#: Target -> its options; ``==`` stands for two values.
_TARGETS = {
    "AUDIT": "type=",
    "CHECKSUM": "checksum-fill",
    "CLASSIFY": "set-class=",
    "CLUSTERIP": "new hashmode= clustermac= total-nodes= local-node= hash-init=",
    "CONNSECMARK": "save restore",
    "DNPT": "src-pfx= dst-pfx=",
    "DSCP": "set-dscp= set-dscp-class=",
    "ECN": "ecn-tcp-remove ecn-tcp-cwr= ecn-tcp-ece= ecn-ip-ect=",
    "HL": "hl-set= hl-dec= hl-inc=",
    "HMARK": "hmark-tuple= hmark-mod= hmark-offset= hmark-rnd= hmark-src-prefix= hmark-dst-prefix= "
    "hmark-sport-mask= hmark-dport-mask= hmark-spi-mask= hmark-sport= hmark-dport= hmark-spi= "
    "hmark-proto-mask=",
    "IDLETIMER": "timeout= label= alarm send_nl_msg=",
    "LED": "led-trigger-id= led-delay= led-always-blink",
    "NETMAP": "to=",
    "NFQUEUE": "queue-num= queue-balance= queue-bypass queue-cpu-fanout",
    "RATEEST": "rateest-name= rateest-interval= rateest-ewmalog=",
    "SECMARK": "selctx=",
    "SET": "add-set== del-set== map-set== exist timeout= map-mark map-prio map-queue",
    "SNPT": "src-pfx= dst-pfx=",
    "SYNPROXY": "sack-perm timestamp wscale= mss= ecn",
    "TCPOPTSTRIP": "strip-options=",
    "TEE": "gateway= oif=",
    "TOS": "set-tos= and-tos= or-tos= xor-tos=",
    "TPROXY": "on-port= on-ip= tproxy-mark=",
    "TRACE": "",
    "TTL": "ttl-set= ttl-dec= ttl-inc=",
    "ULOG": "ulog-nlgroup= ulog-prefix= ulog-cprange= ulog-qthreshold=",
}

#: Other spellings that people type.
_ALIASES = {"hashlimit": {"--hashlimit": "--hashlimit-upto"}}

#: Those whose options may come more than once: an element of an IPsec policy after the other.
_REPEATED = frozenset({"policy"})

#: Extension -> options that may be written without their value.
_BARE = {"rateest": ("--rateest-bps", "--rateest-pps")}


def _read_nothing(_given: Mapping[str, Option]) -> Any:
    """Say nothing: what was read stays text."""


def _grammar(name: str, options: str) -> Grammar[Any]:
    counts = {f"--{word.rstrip('=')}": word.count("=") for word in options.split()}
    return Grammar(counts, _read_nothing, _ALIASES.get(name, {}))


EXTENSION_MATCHES: dict[str, Grammar[Any]] = {
    name: _grammar(name, options) for name, options in _MATCHES.items()
}

EXTENSION_TARGETS: dict[str, Grammar[Any]] = {
    name: _grammar(name, options) for name, options in _TARGETS.items()
}


def extension_options(one: Extension | ExtensionTarget) -> Mapping[str, Option]:
    """
    Return the options of a match or target that is kept as text; shared, so not to be changed.

    Of options that are repeated the first stands.  ValueError for text that holds others than
    its extension has.
    """
    return _options(isinstance(one, Extension), one.name, one.text)


@lru_cache(maxsize=65536)
def _options(match: bool, name: str, text: str) -> Mapping[str, Option]:
    grammar = (EXTENSION_MATCHES if match else EXTENSION_TARGETS)[name]
    given = words(text)
    if name in _REPEATED:
        return _first_of_each(grammar, given)
    bare = [word for word in _BARE.get(name, ()) if word in given]
    if bare and given[-1] != bare[0] and not given[given.index(bare[0]) + 1].startswith("--"):
        bare = []
    counts = {**grammar.options, **dict.fromkeys(bare, 0)}
    return read_options(grammar._replace(options=counts), given)


def _first_of_each(grammar: Grammar[Any], given: list[str]) -> dict[str, Option]:
    found: dict[str, Option] = {}
    start = 0
    while start < len(given):
        at = start + (given[start] == "!")
        name = option_name(grammar, given[at]) if at < len(given) else None
        end = at + 1 + (grammar.options[name] if name is not None else 0)
        for option, one in read_options(grammar, given[start:end]).items():
            found.setdefault(option, one)
        start = end
    return found
