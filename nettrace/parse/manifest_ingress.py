"""
Ingress objects to the model.

Source: k8s.io/api networking/v1 types; v1beta1 names the backend by ``serviceName`` and ``servicePort``.
"""

from nettrace.model.ingress import Ingress, IngressBackend, IngressPath
from nettrace.parse.fields import Fields

__all__ = ["ingress"]

_TYPES = ("Exact", "Prefix", "ImplementationSpecific")


def ingress(fields: Fields) -> Ingress:
    """Return an Ingress.  UserError if a field is of the wrong type."""
    metadata, spec = fields.inside("metadata"), fields.inside("spec")
    return Ingress(
        name=metadata.required("name"),
        namespace=metadata.text("namespace", "default"),
        class_name=spec.text("ingressClassName") or None,
        paths=tuple(
            IngressPath(
                host=rule.text("host"), path=entry.text("path", "/") or "/", path_type=kind, backend=backend
            )
            for rule in spec.objects("rules")
            for entry in rule.inside("http").objects("paths")
            if (backend := _backend(entry.inside("backend"))) is not None
            and (kind := entry.chosen("pathType", _TYPES, "ImplementationSpecific"))
        ),
        default_backend=_backend(spec.inside("defaultBackend")) or _backend(spec.inside("backend")),
    )


def _backend(fields: Fields) -> IngressBackend | None:
    """The Service that is named; None for a resource, or nothing."""
    service = fields.inside("service")
    name = service.text("name") or fields.text("serviceName")
    if not name:
        return None
    port = service.inside("port")
    old = fields.value.get("servicePort")
    named = port.text("name") or (old if isinstance(old, str) else "")
    return IngressBackend(
        service=name, port=named or port.port("number") or (old if isinstance(old, int) else None)
    )
