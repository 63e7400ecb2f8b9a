# SPDX-License-Identifier: GPL-2.0-or-later
"""Random segments of both sides, and time, before the protect engine with reassemble, and before a model
of it that was written from the design alone. Any difference fails, with the seed that shows it."""
import collections
import random

import pytest

import stream_model
from engine import CHUNKS, SEQUENCES, Engine
from knock_model import token
from stream_model import Disagreement, Streams, must
from wire import ACK, FIN, PSH, RST, SYN, URG, Segment, parse

ADDRESSES = {4: ("198.51.100.7", "192.0.2.80"), 6: ("2001:db8::7", "2001:db8:1::80")}
PORT = 443
STEPS = 60
TICK = 100           # milliseconds
LONGEST = 250_000    # dead ISNs are remembered for longer
REMEMBERED = 120_000  # what was verified, at least


def turned(key):
    source, source_port, destination, destination_port = key
    return destination, destination_port, source, source_port


class Judged:
    """The engine and the model, given the same."""

    def __init__(self, engine, model):
        self.engine, self.model, self.now, self.seen = engine, model, 1000, collections.Counter()

    def act(self, actions, key=None):
        for kind, packet in actions:
            segment = parse(packet) if packet is not None else None
            if segment is not None:
                key = segment.tuple if kind == "to-server" else turned(segment.tuple)
            self.model.act(kind, key, segment, self.now)
            self.seen[kind] += 1
            yield kind, segment

    def client(self, segment):
        """Returns (what the gateway sent by itself, the segment that goes on to the server or None)."""
        order = "from-client"
        state = self.model.state(segment.tuple)
        if segment.is_initial_syn and state != "new":
            order = f"on-{state}"
        right = self.model.client(segment, self.now)
        actions, (verdict, _, packet) = self.engine.order(f"{order} {self.now} {segment.pack().hex()}")
        self.seen[f"{order} {verdict}"] += order != "from-client"
        self.seen[verdict] += 1
        must(verdict in right, f"{verdict}, the model says {right} for {segment}")
        sent = list(self.act(actions, segment.tuple))
        if verdict == "lookup" and state == "verified":
            return sent, segment  # the kernel knows it, and it lives
        if verdict not in ("pending", "deliver", "pass", "verified"):
            return sent, None
        out = parse(bytes.fromhex(packet)) if not segment.wrong_checksum else segment
        self.model.note_client(segment, verdict, out)
        return sent, out

    def server(self, segment):
        known = self.model.state(turned(segment.tuple))
        answers = segment.flags & (FIN | SYN | RST | ACK) == SYN | ACK
        order = "back-on-verified" if answers and known == "verified" else "from-server"
        right = self.model.server(segment, self.now)
        actions, (verdict, *_) = self.engine.order(f"{order} {self.now} {segment.pack().hex()}")
        must(verdict in right, f"{verdict}, the model says {right} for {segment}")
        self.seen[f"{order} {verdict}"] += 1
        sent = list(self.act(actions, turned(segment.tuple)))
        self.model.time_is(self.now)
        return sent

    def wait(self, milliseconds):
        """Yields what the gateway sends meanwhile."""
        end = self.now + milliseconds
        while self.now < end:
            self.now = min(self.now + TICK, end)
            actions, _ = self.engine.order(f"tick {self.now}")
            yield from self.act(actions)
            self.model.time_is(self.now)


class RandomSegments:
    """Of a few connections to one service. Most are right, so that they get somewhere."""

    def __init__(self, seed):
        self.r = r = random.Random(seed)
        self.client, self.server = ADDRESSES[r.choice((4, 6))]
        self.length = r.choice((1, 4, 12, 12, 40, 600))
        self.secret = r.randbytes(20)
        self.payloads = {}  # client port: (ISN, TSval, its bytes)
        self.past = {}      # client port: all of these
        self.rivals = {}    # client port: one whose SYN came while another was there

    def orders(self):
        return [f"pieces {self.length} {self.server} {PORT} {self.secret.hex()}", "begin"]

    def model(self):
        return Streams({(self.server, PORT): (self.length, [self.secret])})

    def fresh(self, port):
        """What a client that begins anew has to say."""
        r = self.r
        payload, tsval = r.randbytes(self.length + r.choice((0, 1, 30, 3000))), r.getrandbits(32)
        isn = token(self.secret, self.server, PORT, tsval, payload[:self.length])
        self.past.setdefault(port, []).append((isn, tsval, payload))
        return isn, tsval, payload

    def forgotten(self, judged, port):
        """Whether the gateway may have forgotten that it is verified."""
        key = self.client, port, self.server, PORT
        return key in judged.model.verified and judged.now - judged.model.opened[key][1] > REMEMBERED

    def syn(self, judged, port):
        r = self.r
        idle = judged.model.state((self.client, port, self.server, PORT)) == "new"
        if self.forgotten(judged, port):
            return
        if port not in self.payloads or (idle and r.random() < 0.8):
            self.payloads[port] = self.fresh(port)
        elif idle:
            self.payloads[port] = r.choice(self.past[port])
        isn, tsval, _ = self.payloads[port]
        if not idle and r.random() < 0.6:
            if port not in self.rivals or r.random() < 0.5:
                self.rivals[port] = r.choice((self.fresh(port), *self.past[port]))
            isn, tsval, _ = self.rivals[port]
            if r.random() < 0.3:
                tsval += 1000  # a copy
        if r.random() < 0.05:
            isn ^= 1 << r.randrange(16, 32)
        judged.client(self.from_client(port, isn, flags=SYN, tsval=tsval % 2**32,
                                       payload=r.choice((b"", b"", b"early"))))

    def from_client(self, port, sequence, tsval=None, **fields):
        tsval = tsval if tsval is not None else self.payloads[port][1]
        return Segment(self.client, self.server, port, PORT, sequence % 2**32,
                       options=b"\1\1\x08\x0a" + tsval.to_bytes(4, "big") + bytes(4), **fields)

    def data(self, judged, port):
        r, (isn, _, payload) = self.r, self.payloads[port]
        stream = judged.model.streams.get((self.client, port, self.server, PORT))
        there = stream.there() if stream else 0
        start = r.choice((there, there, there, 0, r.randrange(len(payload)), r.randrange(self.length)))
        data = payload[start:start + r.choice((1, 2, 5, self.length, 100, 1400))]
        if data and r.random() < 0.08:
            at = r.randrange(len(data))
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]
        if r.random() < 0.06:
            start = r.choice((-1, -5, self.length + 3000, r.getrandbits(32)))
        flags = r.choice((ACK, ACK | PSH)) if r.random() < 0.86 else \
            r.choice((ACK | FIN, ACK | FIN, RST | ACK, SYN | ACK, FIN, PSH, ACK | URG, 255))
        judged.client(self.from_client(
            port, isn + 1 + start, flags=flags, payload=data,
            acknowledgement=self.acknowledged(stream) + r.choice((0,) * 20 + (-1, 1)),
            wrong_checksum=r.choice((0,) * 30 + (1,))))

    def empty(self, judged, port):
        r, (isn, _, payload) = self.r, self.payloads[port]
        stream = judged.model.streams.get((self.client, port, self.server, PORT))
        at = r.choice((0, stream.there() if stream else 0, r.randrange(len(payload) + 1), -1))
        flags = r.choice((ACK, ACK, ACK, ACK | FIN, ACK | FIN, RST, RST | ACK, SYN | ACK, 0, ACK | URG))
        judged.client(self.from_client(port, isn + 1 + at, flags=flags,
                                       acknowledgement=self.acknowledged(stream) + r.choice((0, 7))))

    @staticmethod
    def acknowledged(stream):
        return stream.server_first if stream and stream.server_first else 5001

    def reply(self, judged, port):
        r, (isn, _, payload) = self.r, self.payloads[port]
        key = self.client, port, self.server, PORT
        stream = judged.model.streams.get(key)
        there = stream.there() if stream else 0
        acknowledged = r.choice((there, there, 0, self.length, r.randrange(len(payload) + 1)))
        flags, sequence = r.choice((ACK, ACK, ACK | PSH)), self.acknowledged(stream)
        if stream is None or (stream.server_first is None and r.random() < 0.9) or r.random() < 0.15:
            flags, sequence, acknowledged = SYN | ACK, r.choice((5000,) * 9 + (6000,)), 0
            rival = self.rivals.get(port)
            if rival is not None and judged.model.state(key) != "new" and r.random() < 0.4:
                isn = rival[0]
            if self.forgotten(judged, port):
                return
        elif r.random() < 0.06:
            flags = r.choice((RST, RST | ACK, ACK | FIN, PSH, SYN))
        judged.server(Segment(self.server, self.client, PORT, port, sequence,
                              (isn + 1 + acknowledged) % 2**32, flags,
                              payload=r.choice((b"", b"", b"welcome")) if flags & SYN == 0 else b"",
                              options=b"\2\4\x05\xb4" if flags & SYN else b""))
        stream = judged.model.streams.get(key)
        self.payloads[port] = next((known for known in self.past[port] if stream and
                                    known[0] == stream.isn), self.payloads[port])

    def time(self, judged):
        if judged.now < LONGEST:
            list(judged.wait(self.r.choice((10, 50, 50, 400, 3000, 11000))))
        while judged.model.near_end(judged.now):
            list(judged.wait(TICK))

    def run(self, judged):
        ports = [40000, 40000, 40001]
        for _ in range(STEPS):
            which = self.r.randrange(len(ports))
            port = ports[which]
            kind = self.r.random()
            if (self.client, port, self.server, PORT) in judged.model.verified and kind < 0.4:
                # Nobody looks at it any more.
                ports[which] = max(ports) + 1
            if port not in self.payloads or kind < 0.08:
                self.syn(judged, port)
            elif kind < 0.5:
                self.data(judged, port)
            elif kind < 0.62:
                self.empty(judged, port)
            elif kind < 0.9:
                self.reply(judged, port)
            else:
                self.time(judged)


def try_random(seed):
    segments = RandomSegments(seed)
    with Engine(segments.orders()) as engine:
        judged = Judged(engine, segments.model())
        try:
            segments.run(judged)
        except Disagreement as disagreement:
            raise Disagreement(f"seed {seed}, at {judged.now}: {disagreement}") from None
    return judged.seen


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_segments(chunk):
    seen = collections.Counter()
    for seed in range(chunk, SEQUENCES, CHUNKS):
        seen += try_random(seed)
    if SEQUENCES >= 100:
        assert all(seen[word] >= 3 for word in ("closed", "drop", "deliver", "pending", "reset", "verify",
                                                "to-client", "to-server", "forget")), seen


def test_the_model_can_disagree(monkeypatch):
    """A model that holds other bytes for checked is found out at once."""
    monkeypatch.setattr(stream_model, "payload_hash", lambda secret, payload: 1)
    with pytest.raises(Disagreement, match="the model says"):
        for seed in range(50):
            try_random(seed)
