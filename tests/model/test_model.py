# SPDX-License-Identifier: GPL-2.0-or-later
"""Random segments before the engines and before a model of them that was written from the design
alone. Any difference fails, with the seed that shows it.
"""
import ipaddress
import random
import struct

import pytest

import knock_model
from engine import CHUNKS, SEQUENCES, SOURCE, run_engine
from knock_model import Egress, Protect, payload_hash, token
from wire import ACK, FIN, PSH, RST, SYN, URG, Segment, icmp_error

LENGTH = 50  # segments in a sequence

ADDRESSES = {4: ("198.51.100.7", "192.0.2.80"), 6: ("2001:db8::7", "2001:db8:1::80")}
FLAGS = [ACK, ACK, ACK | PSH, ACK | FIN, FIN, RST, RST | ACK, SYN | ACK, SYN | FIN, 0, FIN | PSH | URG,
         SYN | RST, SYN | FIN | ACK, ACK | URG, 255]


def noise(r, size):
    return r.randbytes(size)


def stamp(tsval):
    return struct.pack("!BBBBII", 1, 1, 8, 10, tsval, 0)


def odd_options(r, tsval):
    """Options around a timestamp that a reader may trip over; tsval None: no valid one."""
    wanted = struct.pack("!BBII", 8, 10, tsval, 0) if tsval is not None else b""
    before = r.choice([b"", b"\1", b"\1\1\1", bytes([254, 6]) + noise(r, 4), b"\2\4\5\xb4",
                       bytes([8, 6]) + noise(r, 4), bytes([253, 2])])
    after = r.choice([b"", b"\0" + bytes([8, 10]) + noise(r, 8), bytes([8, 10]) + noise(r, 8),
                      bytes([77, 1]) + noise(r, 2), bytes([77, 200]), b"\3\3\7", bytes([8])])
    if tsval is None:
        after = r.choice([b"", b"\0" + bytes([8, 10]) + noise(r, 8), bytes([9, 0, 8, 10]) + noise(r, 8)])
    options = before + wanted + after
    # What fills up must not finish an option that was left open.
    return options + b"\0" * (-len(options) % 4) if len(options) <= 40 else wanted + b"\1\1"


def plain_options(r, tsval):
    if r.random() < 0.3:
        return odd_options(r, tsval)
    return stamp(tsval) if tsval is not None else r.choice([b"", b"\2\4\5\xb4", b"\1\1\1\1"])


def odd_header(r, family):
    if r.random() < 0.9:
        return b""
    return b"\1" * 4 if family == 4 else b"\0\1\4\0\0\0\0"


class ProtectSequence:
    """Segments of a few clients to a few services; some know a secret, all make mistakes."""
    SERVICES = {22: 0, 80: 4, 443: 28, 8443: 1}

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.family = self.r.choice((4, 6))
        self.client, self.server = ADDRESSES[self.family]
        self.secrets = {port: [noise(self.r, self.r.choice((1, 17, 64, 70)))
                               for _ in range(self.r.choice((1, 1, 2)))] for port in self.SERVICES}
        self.tried = {}  # (client port, port): [(ISN, TSval, payload)]

    def services(self):
        return {(self.server, port): (length, self.secrets[port])
                for port, length in self.SERVICES.items()}

    def orders(self):
        for port, length in self.SERVICES.items():
            yield " ".join(["service", str(length), self.server, str(port)] +
                           [secret.hex() for secret in self.secrets[port]])

    def make(self, client_port, port, sequence, **fields):
        return Segment(self.client, self.server, client_port, port, sequence,
                       extra=odd_header(self.r, self.family), **fields)

    def syn(self, client_port, port):
        r, length = self.r, self.SERVICES.get(port, 0)
        tsval = r.choice((None, r.getrandbits(32), 0, 0xffffffff))
        payload = noise(r, length)
        secret = r.choice(self.secrets.get(port, [b"none"]))
        isn = token(secret, self.server, port, tsval or 0, payload if length else None)
        history = self.tried.setdefault((client_port, port), [])
        if history and r.random() < 0.3:
            isn, tsval, payload = r.choice(history)
        history.append((isn, tsval, payload))
        if r.random() < 0.25:
            isn ^= 1 << r.randrange(32)
        elif r.random() < 0.05:
            isn = r.getrandbits(32)
        return self.make(client_port, port, isn, flags=SYN | r.choice((0, 0, PSH, URG, 0xc0)),
                         options=plain_options(r, tsval),
                         payload=noise(r, r.choice((0, 0, 0, 5, 28))))

    def later(self, client_port, port):
        r = self.r
        history = self.tried.get((client_port, port))
        isn, _, payload = r.choice(history[-2:]) if history else (r.getrandbits(32), 0, b"")
        offset = r.choice((1, 1, 1, 1, 0, 2, 5, -1, r.getrandbits(32)))
        data = r.choice((b"", b"", payload, payload + noise(r, 9), payload[:-1], noise(r, len(payload)),
                         noise(r, 40)))
        return self.make(client_port, port, (isn + offset) % 2**32, flags=r.choice(FLAGS[:3] + FLAGS),
                         acknowledgement=r.getrandbits(32), options=plain_options(r, 5), payload=data)

    def segments(self):
        for _ in range(LENGTH):
            r = self.r
            client_port = r.choice((40000, 40001))
            port = r.choice(list(self.SERVICES) + [80, 80, 443, 9])
            segment = (self.syn if r.random() < 0.35 else self.later)(client_port, port)
            if r.random() < 0.06:
                segment = segment.replace(wrong_checksum=r.randrange(1, 0xffff))
            yield segment


def check_protect(segment, right, goes_on, answer, where):
    verdict, *rest = answer.split()
    assert verdict in right, where
    if not rest:
        return
    packet = bytes.fromhex(rest[1])
    if goes_on is not None:
        assert packet == goes_on.pack(), where
    if verdict == "reset":
        # Both sides get one: the packet itself, and one that the client believes.
        bare = segment.replace(payload=b"", options=b"")
        assert packet[-20:-12] == bare.tcp()[:8], where
        flags = packet[-7]
        assert flags & RST and not flags & (SYN | FIN), where
        assert int(rest[0], 16) == segment.acknowledgement, where


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_protect(chunk):
    judged = {}
    for seed in range(chunk, SEQUENCES, CHUNKS):
        sequence = ProtectSequence(seed)
        segments = list(sequence.segments())
        answers = run_engine([*sequence.orders(), "begin"] + [
            f"protect {1000 + number} {segment.pack().hex()}"
            for number, segment in enumerate(segments)])
        model = Protect(sequence.services())
        for number, (segment, answer) in enumerate(zip(segments, answers, strict=True)):
            right, goes_on = model.judge(segment)
            check_protect(segment, right, goes_on, answer,
                          f"seed {seed}, segment {number}: {answer.split()[0]}, the model says "
                          f"{right} for {segment}")
            judged[answer.split()[0]] = judged.get(answer.split()[0], 0) + 1
    # Nothing is proven by sequences that never get anywhere.
    if SEQUENCES >= 100:
        assert all(judged.get(word, 0) >= 5 for word in
                   ("closed", "drop", "verified", "deliver", "pending", "reset", "not-asked")), judged


def test_copy_of_an_earlier_syn():
    """It begins its connection anew: its bytes are checked once more, and the later one is no more."""
    sequence = ProtectSequence(0)
    model, segments = Protect(sequence.services()), []
    for number in (0, 1, 0):
        payload = bytes([number] * 4)
        isn = token(sequence.secrets[80][0], sequence.server, 80, number, payload)
        segments.append(sequence.make(40000, 80, isn, flags=SYN, options=stamp(number)))
        segments.append(sequence.make(40000, 80, isn + 1, flags=ACK, payload=payload))
    # The bytes of the other one first.
    segments[4:5] = segments[4:5] + segments[3:4]
    answers = run_engine([*sequence.orders(), "begin"] + [
        f"protect {number} {segment.pack().hex()}" for number, segment in enumerate(segments)])
    words = ["pending", "deliver", "pending", "deliver", "pending", "drop", "deliver"]
    assert [answer.split()[0] for answer in answers] == words
    assert [model.judge(segment)[0] for segment in segments] == [{word} for word in words]


class EgressSequence:
    """Segments of both sides of a few connections, ICMP errors about them, and strangers."""
    PORT = 22

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.family = self.r.choice((4, 6))
        self.client, self.server = ADDRESSES[self.family]
        self.secret = noise(self.r, 20)
        self.length = {4: 24, 6: 64}[self.family]
        self.network = ipaddress.ip_network(f"{self.server}/{self.length}", strict=False)
        self.syns = {}

    def destinations(self):
        return [(self.network, self.PORT, self.secret)]

    def orders(self):
        yield f"destination {self.network.network_address} {self.length} {self.PORT} {self.secret.hex()}"

    def syn(self, client_port, port):
        r = self.r
        known = self.syns.get((client_port, port))
        if known and r.random() < 0.8:
            # Sent again: another TSval, or none, or one where there was none.
            tsval = r.choice((known[1], r.getrandbits(32) if known[1] is not None else None,
                              None, r.getrandbits(32)))
            isn = known[0]
        else:
            isn, tsval = r.getrandbits(32), r.choice((None, r.getrandbits(32), 0))
            self.syns[client_port, port] = isn, tsval
        options = plain_options(r, tsval)
        if r.random() < 0.05:
            options = bytes([19, 18]) + noise(r, 16) + b"\1\1"
        return Segment(self.client, self.server, client_port, port, isn, flags=SYN, options=options,
                       payload=noise(r, r.choice((0, 0, 0, 12))),
                       extra=odd_header(r, self.family))

    def segment(self, from_client, client_port, port):
        r = self.r
        ends = (self.client, self.server, client_port, port) if from_client else \
            (self.server, self.client, port, client_port)
        options = r.choice((b"", stamp(7), b"\1\1" + bytes([5, 10]) + noise(r, 8),
                            bytes([5, 26]) + noise(r, 24) + b"\1\1", bytes([1, 5, 18]) + noise(r, 16) +
                            b"\0", bytes([5, 7]) + noise(r, 5) + b"\1"))
        return Segment(*ends, r.getrandbits(32), r.getrandbits(32), r.choice(FLAGS), r.getrandbits(16),
                       r.getrandbits(16), options, noise(r, r.choice((0, 1, 700))),
                       odd_header(r, self.family))

    def steps(self):
        """(order, segment)"""
        for _ in range(LENGTH):
            client_port, port = self.r.choice((40000, 40001)), self.r.choice((22, 22, 22, 23))
            kind = self.r.random()
            if kind < 0.25:
                yield "client", self.syn(client_port, port)
            elif kind < 0.5:
                segment = self.segment(True, client_port, port)
                yield "client", segment.replace(flags=segment.flags | ACK)
            elif kind < 0.75:
                # A new SYN while the server speaks is another story, told by the unit tests.
                segment = self.segment(False, client_port, port)
                yield "server", segment.replace(flags=segment.flags & ~SYN)
            elif kind < 0.88:
                yield "from-wire", self.segment(True, client_port, port)
            else:
                yield "to-wire", self.segment(False, client_port, port)

    def quote(self, segment):
        whole = segment.pack()
        tcp = len(whole) - len(segment.tcp())
        cut = self.r.choice((tcp + 8, tcp + 12, tcp + 20 + len(segment.options), len(whole)))
        return whole, tcp, min(cut, len(whole))


def engine_packet(sequence, order, segment):
    """What the engine is given, and a function from the segment that should come out to bytes."""
    if order in ("client", "server"):
        return segment.pack(), lambda out: out.pack()
    _, _, cut = sequence.quote(segment)
    ends = ("203.0.113.9", "192.0.2.80") if sequence.family == 4 else ("2001:db8::9", "2001:db8::7")
    inner = 12 + segment.pack().__len__() - len(segment.tcp())

    def expected(out):
        # A number that was not quoted cannot have been translated.
        if order == "to-wire" and cut < inner:
            out = segment
        return icmp_error(*ends, out.pack()[:cut])
    return icmp_error(*ends, segment.pack()[:cut]), expected


def expect(model, order, segment):
    if order == "client":
        return model.from_client(segment)
    if order == "server":
        return model.from_server(segment)
    quote = model.quote_from_wire if order == "from-wire" else model.quote_to_wire
    return "pass", quote(segment)


def check_inserted_timestamp(model, packet, wanted, where):
    """Where the option goes and how it is padded is the engine's choice; the rest is not."""
    flow = model.flows[wanted.tuple]
    at = len(wanted.replace(payload=b"", options=b"").pack())
    header = at - 20
    length = (packet[header + 12] >> 4) * 4 - 20
    options = packet[at:at + length]
    if len(wanted.options) > 28:
        assert packet == wanted.pack(), where  # there is no room for it
        return
    found = wanted.replace(options=options)
    assert found.timestamp() and found.timestamp()[0] == flow["tsval"], where
    assert options.endswith(wanted.options), where
    assert packet == found.pack(), where


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_egress(chunk):
    judged = {}
    for seed in range(chunk, SEQUENCES, CHUNKS):
        sequence = EgressSequence(seed)
        steps = [(order, segment, *engine_packet(sequence, order, segment))
                 for order, segment in sequence.steps()]
        answers = run_engine([*sequence.orders(), "begin"] + [
            f"{order} {1000 + number} {packet.hex()}"
            for number, (order, _, packet, _) in enumerate(steps)])
        model = Egress(sequence.destinations())
        for number, ((order, segment, _, pack), answer) in enumerate(zip(steps, answers, strict=True)):
            verdict, out = expect(model, order, segment)
            got, _, packet = answer.split()
            where = f"seed {seed}, step {number}: {order} {segment}: {got}, the model says {verdict}"
            judged[order, got] = judged.get((order, got), 0) + 1
            if verdict == "verified-with-timestamp":
                assert got == "verified", where
                check_inserted_timestamp(model, bytes.fromhex(packet), out, where)
                continue
            assert got == verdict, where
            assert bytes.fromhex(packet) == pack(out), where
    if SEQUENCES >= 100:
        assert all(judged.get(pair, 0) >= 20 for pair in
                   (("client", "verified"), ("client", "pass"), ("server", "verified"),
                    ("server", "pass"), ("from-wire", "pass"), ("to-wire", "pass"))), judged


def test_what_one_gateway_sends_the_other_accepts():
    """Both engines in a row: any client's SYN through egress is right for protect, and nothing else."""
    r = random.Random(1)
    for family in (4, 6):
        client, server = ADDRESSES[family]
        secret = noise(r, 32)
        length = 32 if family == 4 else 128
        orders = [f"service 0 {server} 22 {secret.hex()}",
                  f"destination {server} {length} 22 {secret.hex()}", "begin"]
        syns = [Segment(client, server, 40000 + i, 22, r.getrandbits(32), flags=SYN,
                        options=plain_options(r, r.choice((None, r.getrandbits(32)))))
                for i in range(100)]
        sent = [answer.split()[2] for answer in
                run_engine(orders + [f"client 1 {syn.pack().hex()}" for syn in syns])]
        answers = run_engine(orders + [f"protect 2 {packet}" for packet in sent] +
                             [f"protect 3 {syn.pack().hex()}" for syn in syns])
        assert [answer.split()[0] for answer in answers] == ["verified"] * 100 + ["closed"] * 100


def test_vectors():
    """The model itself, against the tokens of the author's own generator."""
    lines = (SOURCE / "tests/data/vectors.tsv").read_text(encoding="ascii").splitlines()
    columns = lines[0].split("\t")
    for line in lines[1:]:
        row = dict(zip(columns, line.split("\t"), strict=True))
        payload = bytes.fromhex(row["payload_hex"]) if row["payload_hex"] else None
        assert token(bytes.fromhex(row["secret_hex"]), row["dst"], int(row["port"]),
                     int(row["tsval_hex"], 16), payload) == int(row["isn_hex"], 16), line
    assert len(lines) == 401


def test_the_model_can_disagree(monkeypatch):
    """A model that takes another hash for right is found out at once."""
    monkeypatch.setattr(knock_model, "payload_hash",
                        lambda secret, payload: payload_hash(secret, payload) ^ 1)
    with pytest.raises(AssertionError, match="the model says"):
        test_protect(0)
