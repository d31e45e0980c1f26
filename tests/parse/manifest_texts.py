"""
Objects of the API out of manifests.

Lives here: YAML text or recorded files -> Kube, as the tests of manifests ask for them.
"""

from pathlib import Path
from typing import Any

from nettrace.model.kube import Kube
from nettrace.model.section import Known, Section
from nettrace.parse.manifests import kube_from_documents, parse_documents

KUBE_PROXY = Path(__file__).parents[2] / "fixtures/kube-proxy"


def kube_of(*texts: str) -> Kube:
    """Return the objects of these manifests, which are called a.yaml."""
    return kube_from_documents(
        [one for text in texts for one in parse_documents(text, "a.yaml")], "manifests ."
    )


def kube_of_files(*names: str) -> Kube:
    """Return the objects of recorded files, by their names under fixtures/kube-proxy."""
    return kube_of(*((KUBE_PROXY / name).read_text() for name in names))


def known(section: Section[Any]) -> Any:
    """Return what a section holds, which has to be known."""
    assert isinstance(section, Known)
    return section.value


def service_text(spec: str, **more: str) -> str:
    """Return a Service web with this spec, and further members of the object."""
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {spec}\n" + "".join(
        f"{name}: {value}\n" for name, value in more.items()
    )
