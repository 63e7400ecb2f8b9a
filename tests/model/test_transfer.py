# SPDX-License-Identifier: GPL-2.0-or-later
"""client ---- gateway (protect, reassemble) ---- server

An ordinary client and an ordinary server that know nothing of the gateway, on links that lose segments, with
somebody beside the client who sends other bytes than it. Every stream arrives whole, with its end."""
import random

import pytest

from engine import CHUNKS, SEQUENCES, Engine
from knock_model import token
from peers import Client, Server
from stream_model import KEPT_BEHIND, Disagreement, Streams, must
from test_streams import ADDRESSES, PORT, Judged
from wire import ACK, PSH, RST

STEP = 20  # milliseconds
LONGEST = 100_000
DELAY = 10


class Transfer:
    """One connection from its SYN until its last byte is acknowledged."""

    def __init__(self, seed):
        self.r = r = random.Random(seed)
        client, server = ADDRESSES[r.choice((4, 6))]
        self.length, self.secret = r.choice((1, 12, 40, 600, 3000)), r.randbytes(20)
        self.stream = r.randbytes(self.length + r.choice((0, 0, 1, 50, 5000)))
        self.address = server
        self.key = client, 40000, server, PORT
        stamp = r.getrandbits(32)
        isn = token(self.secret, server, PORT, stamp, self.stream[:self.length])
        self.mss = r.choice((536, 1460))
        shift = r.choice((0, 0, 7))
        self.client = Client((client, server, 40000, PORT), isn, stamp, shift, self.cut(),
                             r.random() < 0.5)
        self.server = Server((server, client, PORT, 40000), r.getrandbits(32), r.getrandbits(32),
                             shift, self.mss)
        self.loss = r.choice((0, 0, 0.05, 0.15))
        self.enemy = r.random() < 0.5
        self.ways = []  # (time, where, segment)

    def cut(self):
        pieces, rest = [], self.stream
        most = self.r.choice((max(1, self.length // 3), 100, 1400))
        while rest:
            if len(self.stream) - len(rest) > self.length:
                most = 1400  # behind the check nothing depends on it
            size = self.r.randint(max(1, most // 4), most)
            pieces.append(rest[:size])
            rest = rest[size:]
        return pieces

    def leave(self, where, segment, now):
        if self.r.random() >= self.loss:
            self.ways.append((now + self.r.choice((DELAY, DELAY, 3 * DELAY)), where, segment))

    def check_window(self, segment):
        """Room for the rest of the check, and for no more than what is kept, rounded up."""
        rest = self.length - (segment.acknowledgement - self.client.isn - 1) % 2**32
        shift = self.client.other_shift
        must(rest <= segment.window << shift < rest + KEPT_BEHIND + (1 << shift), "another window")

    def sent_by_gateway(self, sent, judged):
        for kind, segment in sent:
            if segment is None:
                continue
            if kind == "to-server":
                must(len(segment.payload) <= self.mss - 12, "longer than the server takes")
            must(not segment.flags & RST, "given up" if not judged.seen["deliver"] else
                 "given up, and the client was told that the bytes are there")
            if kind == "to-client":
                self.check_window(segment)
            self.leave("server" if kind == "to-server" else "client", segment, judged.now)

    def disturb(self, judged, segment):
        """Bytes that are there already, changed, or under a wrong checksum."""
        stream = judged.model.streams.get(self.key)
        there = stream.there() if stream is not None else 0
        if there == 0 or self.r.random() < 0.7:
            return
        start = self.r.randrange(there)
        other = bytes(byte ^ 0x55 for byte in self.stream[start:start + self.r.randint(1, there - start)])
        forged = segment.replace(sequence=(self.client.isn + 1 + start) % 2**32, flags=ACK | PSH,
                                 payload=other, wrong_checksum=self.r.choice((0, 1)))
        sent, out = judged.client(forged)
        self.sent_by_gateway(sent, judged)
        if out is not None and not out.wrong_checksum:
            self.leave("server", out, judged.now)

    def arrive(self, judged, where, segment):
        now = judged.now
        if where == "client":
            self.client.receive(segment, now)
        elif where == "server":
            self.server.receive(segment, now)
        elif where == "from-client":
            sent, out = judged.client(segment)
            self.sent_by_gateway(sent, judged)
            if out is not None:
                self.leave("server", out, now)
            if self.enemy and segment.payload:
                self.disturb(judged, segment)
        else:
            self.sent_by_gateway(judged.server(segment), judged)
            self.leave("client", segment, now)

    def step(self, judged):
        self.sent_by_gateway(judged.wait(STEP), judged)
        due = sorted((way for way in self.ways if way[0] <= judged.now), key=lambda way: way[0])
        self.ways = [way for way in self.ways if way[0] > judged.now]
        for _, where, segment in due:
            self.arrive(judged, where, segment)
        for peer, where in ((self.client, "from-client"), (self.server, "from-server")):
            peer.work(judged.now)
            for segment in peer.sent:
                self.leave(where, segment, judged.now)
            peer.sent.clear()

    def run(self):
        orders = [f"pieces {self.length} {self.address} {PORT} {self.secret.hex()}", "begin"]
        with Engine(orders) as engine:
            judged = Judged(engine, Streams({(self.address, PORT): (self.length, [self.secret])}))
            while self.client.first != self.client.end or bytes(self.client.got) != Server.GREETING:
                must(judged.now < LONGEST, f"no end: {len(self.server.got)} of {len(self.stream)} bytes")
                self.step(judged)
        must(bytes(self.server.got) == self.stream and self.server.ended, "another stream")
        must(self.key in judged.model.verified, "not verified")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_streams_arrive(chunk):
    given_up = []
    for seed in range(chunk, SEQUENCES, CHUNKS):
        transfer = Transfer(seed)
        try:
            transfer.run()
        except Disagreement as disagreement:
            if str(disagreement) != "given up" or transfer.loss == 0:
                raise Disagreement(f"seed {seed}: {disagreement}") from None
            given_up.append(seed)
    # Ten seconds are short where many segments are lost.
    assert len(given_up) <= SEQUENCES / CHUNKS / 10, given_up
