"""Reading the kernel's description of its types, from a blob made by hand."""

import struct

import pytest

from nettrace.observe.btf import Btf, BtfError


class Blob:
    """Writes BTF."""

    def __init__(self, string_base: int = 0) -> None:
        self.types = b""
        self.strings = b"\0"
        self.base = string_base

    def name(self, text: str) -> int:
        """Add a string; "" is the first one of all."""
        if not text:
            return 0
        at = len(self.strings) + self.base
        self.strings += text.encode() + b"\0"
        return at

    def type(
        self, name: str, kind: int, of: int, *rest: tuple[int, ...], tail: bytes = b"", flag: int = 0
    ) -> None:
        """Add a type with members of three (or two) numbers each."""
        head = struct.pack("=III", self.name(name), flag << 31 | kind << 24 | len(rest), of)
        self.types += head + tail + b"".join(struct.pack(f"={len(one)}I", *one) for one in rest)

    def bytes(self) -> bytes:
        """Return the blob."""
        types, strings = len(self.types), len(self.strings)
        head = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, types, types, strings)
        return head + self.types + self.strings


def sample() -> Blob:
    """An int, a struct with a nameless union in it, an enum, and a tracepoint's typedef."""
    blob = Blob()
    blob.type("int", 1, 4, tail=bytes(4))  # 1
    blob.type("", 5, 8, (blob.name("sk"), 1, 0), (blob.name("other"), 1, 0))  # 2: the union
    blob.type("buff", 4, 16, (blob.name("len"), 1, 0), (0, 2, 64))  # 3
    blob.type("", 10, 3)  # 4: const struct buff
    blob.type("holder", 4, 24, (blob.name("inner"), 4, 64), (blob.name("bit"), 1, 3 << 24 | 5), flag=1)  # 5
    blob.type("some_drop_reason", 6, 4, (blob.name("A"), 0), (blob.name("B"), 7))  # 6
    blob.type("", 13, 0, (0, 1), (0, 1), (0, 1))  # 7: a function of three
    blob.type("", 2, 7)  # 8: a pointer to it
    blob.type("btf_trace_it", 8, 8)  # 9
    blob.type("more_drop_reason", 19, 8, (blob.name("C"), 1, 1))  # 10
    return blob


def test_offsets_lead_through_structs_and_nameless_unions() -> None:
    """A member is found by its name wherever it lies, in bytes from the start."""
    found = Btf(sample().bytes())
    assert found.offset("buff", "len") == 0
    assert found.offset("buff", "sk") == 8
    assert found.offset("holder", "inner", "other") == 16


@pytest.mark.parametrize(
    ("structure", "path"),
    [("nobody", ("len",)), ("buff", ("nothing",)), ("holder", ("bit",)), ("buff", ("len", "more"))],
)
def test_what_is_not_there_is_said(structure: str, path: tuple[str, ...]) -> None:
    """Unknown structs and members, and bit fields, are no zero."""
    with pytest.raises(BtfError):
        Btf(sample().bytes()).offset(structure, *path)


def test_arguments_of_a_tracepoint_are_counted() -> None:
    """Through the typedef and the pointer; a typedef of anything else is refused."""
    blob = sample()
    blob.type("number", 8, 1)
    found = Btf(blob.bytes())
    assert found.arguments("btf_trace_it") == 3
    with pytest.raises(BtfError):
        found.arguments("number")


def test_enums_of_both_sizes_are_read_by_ending() -> None:
    """Values of 64 bits too."""
    assert dict(Btf(sample().bytes()).enums("drop_reason")) == {"A": 0, "B": 7, "C": 1 << 32 | 1}


def test_a_module_goes_on_from_the_kernel() -> None:
    """Types and strings of a module's blob count on from the base's."""
    base = Btf(sample().bytes())
    module = Blob(len(sample().strings))
    module.strings = b""
    module.type("mod", 4, 8, (module.name("first"), 3, 0))
    module.type("mod_drop_reason", 6, 4, (module.name("D"), 9))
    found = Btf(module.bytes(), base)
    assert found.offset("mod", "first", "sk") == 8
    assert list(found.enums("drop_reason")) == [("D", 9)]


@pytest.mark.parametrize("data", [b"", b"\x9f\xeb", b"\0" * 64, sample().bytes()[:60]])
def test_a_damaged_blob_is_refused(data: bytes) -> None:
    """Too short, of another kind, or cut off."""
    with pytest.raises(BtfError):
        Btf(data)
