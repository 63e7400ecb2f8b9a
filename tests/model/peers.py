# SPDX-License-Identifier: GPL-2.0-or-later
"""A TCP client and a TCP server, as far as RFC 9293 and RFC 7323 make them: they believe nothing that
they need not."""
import struct

from wire import ACK, FIN, PSH, SYN, Segment

WINDOW = 60000
FIRST_TIMEOUT, LONGEST_TIMEOUT = 300, 2000  # milliseconds


def signed(number):
    return (number + 2**31) % 2**32 - 2**31


class Peer:
    """sent: what leaves. One byte at a time, so that the first copy of each counts."""

    def __init__(self, ends, isn, stamp, shift):
        self.ends, self.isn, self.stamp, self.shift = ends, isn, stamp, shift
        self.first = self.next = isn  # not yet acknowledged; to be sent
        self.expects = None           # from the other side
        self.recent = 0
        self.early, self.got, self.ended = {}, bytearray(), False
        self.room = 0                 # of the other side
        self.other_shift = 0
        self.sent = []

    def send(self, sequence, flags, payload=b"", options=b"", now=0):
        stamp = (self.stamp + now) % 2**32
        options += b"\1\1" + struct.pack("!BBII", 8, 10, stamp, self.recent)
        shift = 0 if flags & SYN else self.shift
        self.sent.append(Segment(*self.ends, sequence % 2**32, self.expects or 0, flags, WINDOW >> shift,
                                 0, options, payload))

    def acknowledge(self, now):
        self.send(self.next, ACK, now=now)

    def handshake(self, segment):
        self.expects = (segment.sequence + 1) % 2**32
        self.recent = segment.timestamp()[0]
        self.room = segment.window
        shifts = [data[0] for kind, data, _ in segment.walk_options() if kind == 3]
        # Both have to say so.
        self.other_shift = shifts[0] if shifts and self.shift else 0

    def acceptable(self, segment):
        """RFC 9293 3.10.7.4, RFC 7323 5.3."""
        offset = signed((segment.sequence - self.expects) % 2**32)
        length = len(segment.payload) + (1 if segment.flags & FIN else 0)
        return offset < WINDOW and offset + length >= 0 and \
            signed((segment.timestamp()[0] - self.recent) % 2**32) >= 0 and \
            signed((segment.acknowledgement - self.next) % 2**32) <= 0

    def receive(self, segment, now):
        if self.expects is None or segment.flags & SYN or not segment.flags & ACK:
            return
        if not self.acceptable(segment):
            self.acknowledge(now)
            return
        offset = signed((segment.sequence - self.expects) % 2**32)
        if offset <= 0:
            self.recent = segment.timestamp()[0]
        if signed((segment.acknowledgement - self.first) % 2**32) >= 0:
            self.first = segment.acknowledgement
            self.room = segment.window << self.other_shift
        self.take(offset, segment, now)

    def take(self, offset, segment, now):
        at = len(self.got) + offset
        for i, byte in enumerate(segment.payload):
            self.early.setdefault(at + i, byte)
        if segment.flags & FIN:
            self.early.setdefault(at + len(segment.payload), None)
        while not self.ended and len(self.got) in self.early:
            byte = self.early[len(self.got)]
            self.ended = byte is None
            if not self.ended:
                self.got.append(byte)
            self.expects = (self.expects + 1) % 2**32
        if segment.payload or segment.flags & FIN:
            self.acknowledge(now)


class Client(Peer):
    """Sends a stream, cut into pieces, and its end. patient: the next piece leaves when the one before was
    acknowledged (Nagle's algorithm)."""

    def __init__(self, ends, isn, stamp, shift, pieces, patient):
        super().__init__(ends, isn, stamp, shift)
        self.patient, self.timeout, self.due = patient, FIRST_TIMEOUT, 0
        self.queue, at = [], isn + 1  # (sequence, flags, bytes)
        for number, piece in enumerate(pieces):
            last = number == len(pieces) - 1
            self.queue.append((at % 2**32, ACK | (FIN if last else 0), piece))
            at += len(piece)
        self.end = (at + 1) % 2**32

    def receive(self, segment, now):
        before = self.first
        if self.expects is None and segment.flags & (SYN | ACK) == SYN | ACK and \
                segment.acknowledgement == (self.isn + 1) % 2**32:
            self.handshake(segment)
            self.first = self.next = segment.acknowledgement
            self.acknowledge(now)
        super().receive(segment, now)
        if self.first != before:
            self.timeout, self.due = FIRST_TIMEOUT, now + FIRST_TIMEOUT

    def work(self, now):
        """What is new, and what has to be sent again."""
        if self.expects is None:
            if now >= self.due:
                self.send(self.isn, SYN, options=b"\1\3\3" + bytes([self.shift]) if self.shift else b"",
                          now=0)
                self.next = (self.isn + 1) % 2**32
                self.due = now + 1000
            return
        waiting = [entry for entry in self.queue if signed((self.first - entry[0] - len(entry[2]) - bool(
            entry[1] & FIN)) % 2**32) < 0]
        for sequence, flags, piece in waiting:
            if sequence != self.next or (self.patient and self.first != self.next) or \
                    signed((sequence + len(piece) - self.first) % 2**32) > self.room:
                continue
            self.next = (sequence + len(piece) + bool(flags & FIN)) % 2**32
            self.send(sequence, flags, piece, now=now)
            self.due = max(self.due, now + self.timeout)
        if waiting and now >= self.due:
            self.timeout = min(2 * self.timeout, LONGEST_TIMEOUT)
            self.due = now + self.timeout
            sequence, flags, piece = waiting[0]
            self.next = max(self.next, (sequence + len(piece) + bool(flags & FIN)) % 2**32,
                            key=lambda number: signed((number - self.isn) % 2**32))
            self.send(sequence, flags, piece, now=now)


class Server(Peer):
    """Answers a SYN, greets, and acknowledges what it gets."""
    GREETING = b"220 ready"

    def __init__(self, ends, isn, stamp, shift, mss):
        super().__init__(ends, isn, stamp, shift)
        self.mss, self.syn, self.due = mss, None, None

    def receive(self, segment, now):
        if segment.is_initial_syn and (self.syn is None or self.syn == segment.sequence):
            self.syn = segment.sequence
            if self.due is None:
                self.handshake(segment)
                self.next = (self.isn + 1) % 2**32
            self.answer(now)
            return
        if self.syn is not None:
            before = self.first
            super().receive(segment, now)
            self.due = now if self.first != before else self.due

    def answer(self, now):
        shift = b"\1\3\3" + bytes([self.shift]) if self.shift else b""
        self.send(self.isn, SYN | ACK, options=b"\2\4" + struct.pack("!H", self.mss) + shift, now=now)
        self.due = now + 1000

    def work(self, now):
        if self.due is None or now < self.due:
            return
        begin = (self.isn + 1) % 2**32
        if self.first == self.isn:
            self.answer(now)
        elif self.first == begin:
            self.next = (begin + len(self.GREETING)) % 2**32
            self.send(begin, ACK | PSH, self.GREETING, now=now)
            self.due = now + FIRST_TIMEOUT
