"""Whatever pieces a server sends in, it is known whether the last frame is whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pygun_runtime.websockets import GOING_AWAY, Frames

ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


def frame(size, opcode=1, masked=False):
    mask = 0x80 if masked else 0
    length = (
        bytes([mask | size])
        if size < 126
        else bytes([mask | 126]) + size.to_bytes(2, "big")
        if size < 65536
        else bytes([mask | 127]) + size.to_bytes(8, "big")
    )
    return bytes([0x80 | opcode]) + length + (b"mask" if masked else b"") + b"\x88" * size


def in_pieces(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(
    sizes=st.lists(st.sampled_from([0, 1, 125, 126, 127, 1000, 65535, 65536, 70000]), min_size=1, max_size=4),
    piece=st.sampled_from([1, 2, 3, 7, 64, 4096, 10**6]),
    masked=st.booleans(),
)
def test_frames_are_followed_through_any_pieces(sizes, piece, masked):
    frames = Frames()
    for data in in_pieces(ANSWER, piece):
        assert not frames.upgraded
        frames.feed(data)
    assert frames.between
    for size in sizes:
        data = frame(size, masked=masked)
        sent = 0
        for part in in_pieces(data, max(piece, len(data) // 50)):
            frames.feed(part)
            sent += len(part)
            assert frames.between == (sent == len(data))
    assert not frames.closed


@given(piece=st.integers(1, 500))
def test_pieces_may_reach_over_the_borders_of_frames(piece):
    frames = Frames()
    for data in in_pieces(ANSWER + frame(3) + frame(200) + frame(0, opcode=9) + GOING_AWAY, piece):
        frames.feed(data)
    assert frames.between
    assert frames.closed


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
def test_an_interim_answer_is_not_the_answer(interim):
    frames = Frames()
    frames.feed(interim + ANSWER)
    assert frames.between


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER, b"x" * 200_000 + ANSWER, b"\r\n\r\n"],
)
def test_other_answers_begin_no_frames(answer):
    frames = Frames()
    frames.feed(answer)
    assert not frames.upgraded
    assert not frames.between
