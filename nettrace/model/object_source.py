"""
Where Kubernetes objects come from.

Lives here: what the command line named.  Not here: reading them (nettrace.parse.manifests,
nettrace.collect.kube_api).
"""

from msgspec import Struct

__all__ = ["ObjectSource"]


class ObjectSource(Struct, frozen=True, kw_only=True):
    """
    A directory of manifests, or an API server.

    ``manifests``: the directory, from the root.  ``kubeconfig``: a file, from the root, or "" for the one
    that kubectl would find; ``context``: one of its contexts, None for the current one.
    """

    manifests: str | None = None
    kubeconfig: str | None = None
    context: str | None = None

    @property
    def is_api(self) -> bool:
        """Was an API server named?"""
        return self.kubeconfig is not None or self.context is not None

    def options(self) -> str:
        """Return the options that name it, each with a blank before it."""
        words = []
        if self.manifests is not None:
            words.append(f" --manifests {self.manifests}")
        if self.is_api:
            words.append(f" --kubeconfig {self.kubeconfig}" if self.kubeconfig else " --kubeconfig")
        if self.context is not None:
            words.append(f" --context {self.context}")
        return "".join(words)
