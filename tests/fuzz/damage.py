"""Ways to damage a file: seeded changes of its bytes, as bad disks, broken downloads and unkind people make them."""

import numpy as np

_INTERESTING = (
    b"\x00",
    b"\xff",
    b"\r\n",
    b",",
    b'"',
    b"{",
    b"[",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"9" * 30,
    b"-1",
    b"NaN",
)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A copy of `content` with one to four changes."""
    for _ in range(int(rng.integers(1, 5))):
        content = _CHANGES[int(rng.integers(len(_CHANGES)))](content, rng)
    return content


def _place(content: bytes, rng: np.random.Generator) -> int:
    """A place in the file; every other one in its first 200 bytes, where headers are."""
    near = min(len(content), 200) if rng.random() < 0.5 else len(content)
    return int(rng.integers(near + 1))


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    bits = bytearray(content)
    for _ in range(int(rng.integers(1, 9))):
        if bits:
            bits[min(_place(content, rng), len(bits) - 1)] ^= 1 << int(rng.integers(8))
    return bytes(bits)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)]


def _drop(content: bytes, rng: np.random.Generator) -> bytes:
    begin = _place(content, rng)
    return content[:begin] + content[begin + int(rng.integers(1, 65)) :]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    begin = _place(content, rng)
    return content[:begin] + _INTERESTING[int(rng.integers(len(_INTERESTING)))] + content[begin:]


def _overwrite(content: bytes, rng: np.random.Generator) -> bytes:
    begin = _place(content, rng)
    noise = rng.bytes(int(rng.integers(1, 17)))
    return content[:begin] + noise + content[begin + len(noise) :]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    begin = _place(content, rng)
    part = content[begin : begin + int(rng.integers(1, 257))]
    return content[:begin] + part * int(rng.integers(2, 6)) + content[begin:]


_CHANGES = (_flip, _flip, _cut, _drop, _insert, _overwrite, _repeat)
