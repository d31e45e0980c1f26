"""
Cluster DNS: the records a cluster's DNS server holds, for dnsmasq, and each pod's resolv.conf.

Lives here: the part of the DNS specification (kubernetes/dns, docs/specification.md) that a
lab needs: addresses of Services and of headless ones' endpoints, SRV records of named ports,
CNAME records of ExternalName Services, names of addresses.  There is no upstream: other names
are refused, and the real network is left alone.
"""

from collections.abc import Iterator, Sequence

from nettrace.lab.cluster.documents import Document, at, mapping_list, name_of, text_map

__all__ = ["DOMAIN", "dnsmasq_conf", "resolv_conf"]

DOMAIN = "cluster.local"


def dnsmasq_conf(services: Sequence[Document], slices: Sequence[Document], outside: str | None = None) -> str:
    """
    Return dnsmasq's configuration with the records of these Services.

    *outside* is the address that names outside the cluster have which an ExternalName leads to: the
    lab's only host out there.
    """
    lines = [
        "no-resolv",
        "no-hosts",
        "no-poll",
        "user=root",  # started by root in a namespace of its own; there may be no other user for it
        f"local=/{DOMAIN}/",
        "local=/in-addr.arpa/",
        "local-ttl=30",  # CoreDNS's default for the kubernetes plugin is 5, kube-dns had 30
    ]
    for service in services:
        lines.extend(_records(service, slices))
    if outside is not None:
        names = {at(service, "spec.externalName", str, "").rstrip(".") for service in services}
        foreign = sorted(name for name in names if name and not name.endswith(f".{DOMAIN}"))
        lines.extend(f"host-record={name},{outside}" for name in foreign)
    return "\n".join(lines) + "\n"


def _records(service: Document, slices: Sequence[Document]) -> Iterator[str]:
    namespace, name = name_of(service)
    full = f"{name}.{namespace}.svc.{DOMAIN}"
    address = at(service, "spec.clusterIP", str, "")
    if address == "None":
        for found in slices:
            label = text_map(found, "metadata.labels").get("kubernetes.io/service-name")
            if name_of(found)[0] == namespace and label == name:
                for endpoint in mapping_list(found, "endpoints"):
                    if at(endpoint, "conditions.ready", bool, True, of=found):
                        for one in at(endpoint, "addresses", list, [], of=found):
                            # A pod's own name first: it is what its address has as its PTR record.
                            own = endpoint.get("hostname") or str(one).replace(".", "-")
                            yield f"host-record={own}.{full},{one}"
                            yield f"host-record={full},{one}"
    elif address:
        yield f"host-record={full},{address}"
    elif at(service, "spec.type", str, "") == "ExternalName":
        # cname= of dnsmasq is for names that it holds itself; dnsmasq_conf adds those outside
        yield f"cname={full},{at(service, 'spec.externalName', str, '').rstrip('.')}"
        return
    else:
        return
    for entry in mapping_list(service, "spec.ports"):
        if entry.get("name"):
            proto = str(entry.get("protocol", "TCP")).lower()
            yield f"srv-host=_{entry['name']}._{proto}.{full},{full},{entry.get('port')}"


def resolv_conf(namespace: str, server: str) -> str:
    """The file that kubelet gives a pod with the DNS policy ClusterFirst."""
    search = f"{namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}"
    return f"nameserver {server}\nsearch {search}\noptions ndots:5\n"
