"""Where Kubernetes objects come from, as options of the command line."""

import pytest

from nettrace.model.object_source import ObjectSource


@pytest.mark.parametrize(
    ("source", "options", "is_api"),
    [
        (ObjectSource(manifests="/a/b"), " --manifests /a/b", False),
        (ObjectSource(kubeconfig="/etc/kc"), " --kubeconfig /etc/kc", True),
        (ObjectSource(kubeconfig=""), " --kubeconfig", True),
        (ObjectSource(context="prod"), " --kubeconfig --context prod", True),
        (ObjectSource(kubeconfig="/k", context="prod"), " --kubeconfig /k --context prod", True),
    ],
)
def test_the_options_that_name_it(source: ObjectSource, options: str, is_api: bool) -> None:
    """A directory, or a server by its file, its context, or as kubectl finds it."""
    assert (source.options(), source.is_api) == (options, is_api)
