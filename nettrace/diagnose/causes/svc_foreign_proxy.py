"""svc-foreign-proxy: the Service is left to another proxy."""

from nettrace.diagnose.cause import Cause, nobody

__all__ = ["SVC_FOREIGN_PROXY"]

SVC_FOREIGN_PROXY = Cause(
    id="svc-foreign-proxy",
    title="the Service is left to another proxy",
    what=(
        "The label service.kubernetes.io/service-proxy-name tells kube-proxy to pass this Service over; "
        "service.kubernetes.io/headless does the same. On an EndpointSlice they hide its endpoints."
    ),
    shows="The address exists and nothing answers it.",
    dies="As for an address that no rule knows.",
    proof="The label is in the Service's metadata.",
    repair="Take the label off, or run the proxy that it names.",
    owner="The Service's manifest.",
    source="KEP-2447",
    candidates=nobody,
)
