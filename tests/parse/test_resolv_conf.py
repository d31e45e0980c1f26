"""resolv.conf as glibc reads it."""

import pytest

from nettrace.model.resolver import Resolver
from nettrace.parse.resolv_conf import parse_resolv_conf


def test_the_file_of_a_pod() -> None:
    """What kubelet writes is read whole."""
    text = "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5 rotate\n"
    assert parse_resolv_conf(text, "/etc/resolv.conf") == Resolver(
        nameservers=("10.96.0.10",),
        search=("shop.svc.cluster.local", "svc.cluster.local"),
        ndots=5,
        options=("rotate",),
        path="/etc/resolv.conf",
    )


def test_what_glibc_passes_over() -> None:
    """Comments, unknown words, a fourth server, words without value, an ndots that is no number."""
    text = "# c\n; c\n\nnonsense x\nnameserver\n" + "".join(f"nameserver 10.0.0.{n}\n" for n in range(5))
    read = parse_resolv_conf(f"{text}domain\noptions ndots:x\n")
    assert read == Resolver(nameservers=("10.0.0.0", "10.0.0.1", "10.0.0.2"), options=("ndots:x",))


def test_domain_and_search_replace_each_other() -> None:
    """The last one of them counts."""
    assert parse_resolv_conf("search a.b c.d.\ndomain e.f.\n").search == ("e.f",)
    assert parse_resolv_conf("domain e.f\nsearch a.b c.d.\n").search == ("a.b", "c.d")


def test_without_a_server_the_local_one_is_asked() -> None:
    """An empty file means 127.0.0.1, and ndots has a limit."""
    read = parse_resolv_conf("options ndots:99\n")
    assert (read.nameservers, read.ndots) == (("127.0.0.1",), 15)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("web", ("web.a", "web.b", "web")),
        ("web.shop", ("web.shop", "web.shop.a", "web.shop.b")),
        ("web.shop.", ("web.shop",)),
    ],
)
def test_names_that_are_asked(name: str, asked: tuple[str, ...]) -> None:
    """A name with ndots dots is asked as it is first, another one last, one that ends in a dot alone."""
    assert Resolver(search=("a", "b")).candidates(name) == asked
