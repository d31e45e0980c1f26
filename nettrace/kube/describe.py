"""
Words for the names of kube-proxy's chains.

Lives here: from ``KUBE-SEP-DXD2WD3PAPYG5OXB`` back to the endpoint that it stands for.
Not here: what is in the chains.
"""

from nettrace.kube.endpoints import backends, index_slices
from nettrace.kube.frame import PURPOSES
from nettrace.kube.names import SERVICE_PREFIXES, XLB_PREFIX
from nettrace.kube.services import proxied_ports
from nettrace.kube.serving import chain_words, endpoint_words
from nettrace.model.kube import Kube
from nettrace.model.section import Known

__all__ = ["describe_chain"]


def describe_chain(kube: Kube, chain_name: str) -> str | None:
    """
    Say what a chain is for: ``endpoint default/hostnames-0 10.244.1.5:9376 of Service ...``.

    Returns None for a name that belongs to no Service and endpoint of *kube*, such as that
    of an endpoint which is gone.
    """
    purposes = dict.fromkeys(words for (_, name), words in PURPOSES.items() if name == chain_name)
    if purposes:
        return "; ".join(purposes)
    if not isinstance(kube.services, Known):
        return None
    slices = kube.endpoint_slices.value if isinstance(kube.endpoint_slices, Known) else ()
    index = index_slices(slices)
    prefix = next((p for p in (*SERVICE_PREFIXES, XLB_PREFIX) if chain_name.startswith(p)), None)
    for family in (4, 6):
        for port in proxied_ports(kube.services.value, family):
            if prefix is not None:
                if port.chain(prefix) == chain_name:
                    return chain_words(prefix, port)
            elif chain_name.startswith("KUBE-SEP-"):
                for backend in backends(index, port, node=""):
                    if port.endpoint_chain(backend.text) == chain_name:
                        return endpoint_words(backend, port)
    return None
