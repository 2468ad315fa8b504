import pytest

from pipeline.install.version_needs import ElfFormatError, mark_weak, version_needs


def test_only_the_named_versions_become_weak(future_library: bytes) -> None:
    needs = {need.version: need for need in version_needs(future_library)}
    assert set(needs) == {"GLIBC_2.38", "GLIBCXX_3.4.32"}
    assert needs["GLIBC_2.38"].library == "libc.so.6"
    marked = mark_weak(future_library, frozenset({"GLIBC_2.38"}))
    assert {need.version: need.weak for need in version_needs(marked)} == {
        "GLIBC_2.38": True,
        "GLIBCXX_3.4.32": False,
    }
    changed = [at for at, (a, b) in enumerate(zip(future_library, marked, strict=True)) if a != b]
    assert changed == [needs["GLIBC_2.38"].flags_offset]


def test_damaged_elf_is_an_error_or_a_list_but_never_a_crash_or_a_hang(
    future_library: bytes,
) -> None:
    with pytest.raises(ElfFormatError):
        version_needs(b"MZ, a program for something else")
    for length in range(0, len(future_library), 61):
        try:
            version_needs(future_library[:length])
        except ElfFormatError:
            continue
    for at in range(0, len(future_library), 7):
        damaged = bytearray(future_library)
        damaged[at] ^= 0xFF
        try:
            version_needs(bytes(damaged))
        except ElfFormatError:
            continue
