"""Instructions as the kernel takes them."""

import struct

import pytest

from nettrace.observe.bpf import Assembler, R


def test_instructions_have_the_kernels_bytes() -> None:
    """Each as bpf(8)'s assembler would write it (instruction-set.rst)."""
    code = Assembler()
    code.move(R.R6, R.R1)  # r6 = r1
    code.set(R.R2, -1)  # r2 = -1
    code.add(R.R2, 8)
    code.add_register(R.R2, R.R6)
    code.mask(R.R2, -2)
    code.shift_right(R.R2, 4)
    code.load(8, R.R3, R.R6, 16)
    code.store(4, R.R10, -8, R.R3)
    code.store_number(2, R.R10, -4, 7)
    code.count_up(R.R0, R.R1)
    code.call(113)
    code.exit()
    assert [code.assemble()[at : at + 8].hex() for at in range(0, 96, 8)] == [
        "bf16000000000000",
        "b7020000ffffffff",
        "0702000008000000",
        "0f62000000000000",
        "57020000feffffff",
        "7702000004000000",
        "7963100000000000",
        "633af8ff00000000",
        "6a0afcff07000000",
        "db10000000000000",
        "8500000071000000",
        "9500000000000000",
    ]


def test_a_map_takes_two_slots_and_jumps_count_them() -> None:
    """A jump over a map's load goes two instructions on."""
    code = Assembler()
    code.jump_if_equal(R.R1, 5, "end")
    code.map(R.R1, 3)
    code.label("end")
    code.exit()
    words = [struct.unpack_from("=BBhi", code.assemble(), at) for at in range(0, 32, 8)]
    assert words == [(0x15, 1, 2, 5), (0x18, 0x11, 0, 3), (0, 0, 0, 0), (0x95, 0, 0, 0)]


def test_numbers_above_the_sign_are_kept() -> None:
    """32 bits are 32 bits, signed or not."""
    code = Assembler()
    code.jump_if_not_equal(R.R1, 0xFFFFFFFF, "end")
    code.jump_if_less(R.R1, 2, "end")
    code.jump("end")
    code.label("end")
    code.exit()
    assert code.assemble()[4:8] == b"\xff" * 4


def test_labels_follow_their_jumps_once() -> None:
    """A loop, a missing label and one that is there twice are refused."""
    code = Assembler()
    code.label("back")
    code.jump("back")
    with pytest.raises(ValueError, match="back"):
        code.assemble()
    with pytest.raises(ValueError, match="twice"):
        code.label("back")
