"""
Where a Service's name leads without an address of the Service's own, and where outsiders knock.

Lives here: headless Services (their ready endpoints), ExternalNames that name another Service.
Not here: names that only a DNS server knows (nettrace.app.names).
"""

from collections.abc import Iterable

from nettrace.model.errors import UserError
from nettrace.model.kube import EndpointSlice, Service, ServicePort

__all__ = ["aliased", "headless_ends", "outside_address"]


def aliased(service: Service, services: Iterable[Service]) -> Service:
    """
    Follow ExternalNames to the Service that they name, ``NAME.NAMESPACE.svc[.DOMAIN]``.

    Returns the first one that is no ExternalName, or the one that names something outside.
    UserError for a ring of them, and for one that names a Service that is not there.
    """
    held = list(services)
    seen: list[str] = []
    while service.external_name is not None and service.type == "ExternalName":
        if service.key in seen:
            raise UserError(
                f"ExternalName Service {service.key} leads back to itself", where=" -> ".join(seen)
            )
        seen.append(service.key)
        labels = service.external_name.rstrip(".").split(".")
        if len(labels) < 3 or labels[2] != "svc":
            return service
        key = f"{labels[1]}/{labels[0]}"
        found = next((one for one in held if one.key == key), None)
        if found is None:
            raise UserError(
                f"Service {service.key} is an ExternalName for Service {key}, which is not there",
                hint="correct spec.externalName, or make that Service",
            )
        service = found
    return service


def headless_ends(
    service: Service, port: ServicePort | None, slices: Iterable[EndpointSlice]
) -> tuple[tuple[str, ...], int | None]:
    """
    Return the addresses that a headless Service's name has, and the port that *port* is there.

    Nothing translates ports on the way: a client connects to the endpoint's own.  UserError where
    nobody is ready, for then the name has no address.
    """
    mine = [one for one in slices if (one.namespace, one.service) == (service.namespace, service.name)]
    addresses = tuple(
        address
        for one in mine
        if one.address_type != "FQDN"
        for endpoint in one.endpoints
        if endpoint.ready
        for address in endpoint.addresses
    )
    if not addresses:
        raise UserError(
            f"headless Service {service.key} has no ready endpoint, so its name has no address",
            hint=f"nettrace debug svc/{service.key}",
        )
    numbers = [
        entry.port
        for one in mine
        for entry in one.ports
        if port is not None and (entry.name, entry.protocol) == (port.name, port.protocol)
    ]
    return addresses, next((number for number in numbers if number), None)


def outside_address(service: Service) -> str | None:
    """The balancer's address of a Service of type LoadBalancer, by which the outside calls it."""
    if service.type != "LoadBalancer":
        return None
    return next((address for address, _ in service.load_balancer_status), None)
