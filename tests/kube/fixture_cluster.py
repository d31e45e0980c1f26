"""The objects that the dumps of the real kube-proxy came from."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from nettrace.model.kube import Kube
from nettrace.model.section import Known
from nettrace.parse.manifests import kube_from_documents, parse_documents

FIXTURES = Path(__file__).parents[2] / "fixtures" / "kube-proxy"
_OBJECTS = ("services", "endpointslices", "nodes", "servicecidrs")
NODE = "node-a"


def fixture_cluster(dump: str, version: str = "1.36", **changed: Any) -> Kube:
    """The cluster of one dump (``nftables-1.36``), its kube-proxy's configuration with changes."""
    names = [*(f"inputs/stored-{name}.json" for name in _OBJECTS), f"{dump}/kube-proxy-config.json"]
    documents = [doc for name in names for doc in parse_documents((FIXTURES / name).read_text(), name)]
    found = kube_from_documents(documents, "fixtures")
    assert isinstance(found.proxy, Known)
    return replace(found, proxy=Known(replace(found.proxy.value, version=version, **changed)))
