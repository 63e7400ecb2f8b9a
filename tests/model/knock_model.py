# SPDX-License-Identifier: GPL-2.0-or-later
"""Knock's server and client logic a second time, from the design alone and with nothing in common
with src: what a gateway has to decide about each segment, and which bytes have to come out."""
import hashlib
import ipaddress
import math
import struct

from wire import ACK, FIN, RST, SYN, URG

TABLE = [int(abs(math.sin(i + 1)) * 2**32) for i in range(64)]
TURNS = [7, 12, 17, 22] * 4 + [5, 9, 14, 20] * 4 + [4, 11, 16, 23] * 4 + [6, 10, 15, 21] * 4
ALL = 0xffffffff
COOKIE_SLACK = 3  # a server with SYN cookies takes an ACK for its own that is this much beside it
MOST_SPOILT = 4  # memory is bounded: a tuple that spoils as many ISNs gets no further chance


def md5_compress(state, block):
    """RFC 1321 section 3.4: one block, final addition included. state: four words."""
    words = struct.unpack("<16I", block)
    a, b, c, d = state
    for i in range(64):
        if i < 16:
            f, g = (b & c) | (~b & d), i
        elif i < 32:
            f, g = (d & b) | (~d & c), (5 * i + 1) % 16
        elif i < 48:
            f, g = b ^ c ^ d, (3 * i + 5) % 16
        else:
            f, g = c ^ (b | (~d & ALL)), 7 * i % 16
        f = (f + a + TABLE[i] + words[g]) & ALL
        a, d, c = d, c, b
        b = (b + ((f << TURNS[i]) | (f >> (32 - TURNS[i])))) & ALL
    return tuple((old + new) & ALL for old, new in zip(state, (a, b, c, d)))


def padded(secret):
    return secret[:64].ljust(64, b"\0")


def payload_hash(secret, payload):
    digest = hashlib.md5(padded(secret) + payload).digest()
    result = 0
    for word in struct.unpack("!8H", digest):
        result ^= word
    return result


def authenticator(secret, address, port, tsval, ih):
    iv = bytearray(ipaddress.ip_address(address).packed.ljust(16, b"\0"))
    for at, value in ((4, struct.pack("!H", ih)), (8, struct.pack("!I", tsval)),
                      (12, struct.pack("!H", port))):
        for i, byte in enumerate(value):
            iv[at + i] ^= byte
    a, b, c, d = md5_compress(struct.unpack("<4I", iv), padded(secret))
    return a ^ b ^ c ^ d


def token(secret, address, port, tsval, payload=None):
    """The ISN; payload: the first N bytes, in integrity mode."""
    if payload is None:
        return authenticator(secret, address, port, tsval, 0)
    ih = payload_hash(secret, payload)
    return authenticator(secret, address, port, tsval, ih) & 0xffff0000 | ih


class Protect:
    """services: {(address, port): (N, [secret, …])}. judge() gives (verdicts that are right, segment
    that goes on or None when the bytes do not matter)."""

    def __init__(self, services):
        self.services = services
        self.pending = {}   # tuple: (ISN, N, secret)
        self.verified = {}  # tuple: ISN
        self.dead = set()   # (tuple, ISN)

    def secret_for(self, segment, length, secrets):
        stamp = segment.timestamp()
        tsval = stamp[0] if stamp else 0
        for secret in secrets:
            ih = segment.sequence & 0xffff if length else 0
            right = authenticator(secret, segment.destination, segment.destination_port, tsval, ih)
            if (right ^ segment.sequence) & (0xffff0000 if length else ALL) == 0:
                return secret
        return None

    def judge(self, segment):
        service = self.services.get((segment.destination, segment.destination_port))
        if service is None:
            return {"not-asked"}, None
        if segment.is_initial_syn:
            return self.judge_syn(segment, *service)
        if segment.tuple in self.verified:
            return {"not-asked"}, None  # the kernel forwards it on its mark
        if segment.tuple in self.pending:
            return self.judge_pending(segment)
        if segment.flags & RST and not segment.payload and \
                any(key == segment.tuple for key, _ in self.dead):
            return {"closed", "pending"}, segment  # nobody answers an RST, and it opens nothing
        return {"closed"}, segment

    def judge_syn(self, segment, length, secrets):
        name = segment.tuple, segment.sequence
        if segment.wrong_checksum:
            return {"closed", "drop"}, None  # no port answers that
        spoilt = [isn for key, isn in self.dead if key == segment.tuple]
        if name in self.dead or len(spoilt) == MOST_SPOILT:
            return {"closed"}, segment
        # Sent again: this ISN on this tuple was found right before.
        again = self.pending.get(segment.tuple, (None,))[0] == segment.sequence
        again = again or self.verified.get(segment.tuple) == segment.sequence
        secret = self.secret_for(segment, length, secrets)
        if secret is None and not again:
            return {"closed"}, segment
        if length and segment.flags & URG:
            return {"closed"}, segment  # it would point at bytes that are yet to be checked
        if length == 0:
            self.verified[segment.tuple] = segment.sequence
            return {"verified"}, segment
        if not again:
            self.verified.pop(segment.tuple, None)
            self.pending[segment.tuple] = segment.sequence, length, secret
        return {"pending"}, segment.replace(payload=b"")

    def judge_pending(self, segment):
        isn, length, secret = self.pending[segment.tuple]
        behind = (segment.sequence - isn - 1) % 2**32
        if segment.flags & URG and (behind < length or behind >= 2**31):
            return {"drop"}, None  # it would take a byte out of those that are checked
        if not segment.payload:
            if segment.flags & (FIN | SYN | RST) == FIN and behind:
                return {"drop"}, None  # an end behind bytes that nobody has seen
            if not segment.flags & (SYN | RST) and 1 <= behind <= COOKIE_SLACK:
                return {"drop"}, None  # the stream would begin there
            return {"pending", "drop"} if segment.wrong_checksum else {"pending"}, None
        if segment.wrong_checksum or segment.sequence != (isn + 1) % 2**32:
            return {"drop"}, None
        if segment.flags & (SYN | RST | ACK) != ACK:
            return {"drop"}, None  # behind a SYN data begins one further; others deliver none
        del self.pending[segment.tuple]
        first = segment.payload[:length]
        if len(first) == length and payload_hash(secret, first) == isn & 0xffff:
            self.verified[segment.tuple] = isn
            return {"deliver"}, segment  # verified when the server, who is not here, has it
        self.dead.add((segment.tuple, isn))
        return {"reset"}, None


class Egress:
    """destinations: [(ip_network, port, secret)]. Each call gives (verdict, segment that goes on)."""

    def __init__(self, destinations):
        self.destinations = destinations
        self.flows = {}  # tuple: flow

    def secret_of(self, address, port):
        for network, its_port, secret in self.destinations:
            if port == its_port and ipaddress.ip_address(address) in network:
                return secret
        return None

    @staticmethod
    def is_signed(segment):
        return any(kind in (19, 29) for kind, _, _ in segment.walk_options())

    def from_client(self, segment):
        flow = self.flows.get(segment.tuple)
        if segment.is_initial_syn:
            return self.syn(segment, flow)
        if flow is None:
            return "pass", segment
        return "verified", segment.replace(sequence=(segment.sequence + flow["delta"]) % 2**32)

    def syn(self, segment, flow):
        secret = self.secret_of(segment.destination, segment.destination_port)
        if secret is None:
            return "pass", segment
        if self.is_signed(segment):
            self.flows.pop(segment.tuple, None)
            return "pass", segment
        stamp = segment.timestamp()
        if flow is None or flow["isn"] != segment.sequence:
            number = token(secret, segment.destination, segment.destination_port,
                           stamp[0] if stamp else 0)
            flow = {"isn": segment.sequence, "delta": number - segment.sequence,
                    "tsval": stamp[0] if stamp else None}
            self.flows[segment.tuple] = flow
        elif stamp and flow["tsval"] is not None:
            segment = segment.set_option_bytes(stamp[1], struct.pack("!I", flow["tsval"]))
        elif stamp:
            # The first one had none: this one must not have any.
            while stamp := segment.timestamp():
                segment = segment.set_option_bytes(stamp[1] - 2, b"\1" * 10)
        elif flow["tsval"] is not None:
            return "verified-with-timestamp", segment.replace(
                sequence=(segment.sequence + flow["delta"]) % 2**32)
        return "verified", segment.replace(sequence=(segment.sequence + flow["delta"]) % 2**32)

    def flow_of_server(self, segment):
        source, source_port, destination, destination_port = segment.tuple
        return self.flows.get((destination, destination_port, source, source_port))

    def from_server(self, segment):
        flow = self.flow_of_server(segment)
        if flow is None or not segment.flags & ACK:
            return "pass", segment
        back = segment.replace(acknowledgement=(segment.acknowledgement - flow["delta"]) % 2**32)
        for kind, data, at in segment.walk_options():
            if kind == 5:
                for edge in range(0, len(data) - 3, 4):
                    number = struct.unpack("!I", data[edge:edge + 4])[0] - flow["delta"]
                    back = back.set_option_bytes(at + edge, struct.pack("!I", number % 2**32))
        return "verified", back

    def quote_from_wire(self, segment):
        """A client's segment, as it was on the wire, quoted by somebody out there."""
        flow = self.flows.get(segment.tuple)
        if flow is None:
            return segment
        return segment.replace(sequence=(segment.sequence - flow["delta"]) % 2**32)

    def quote_to_wire(self, segment):
        """A server's segment, as it was on our side, quoted by somebody in here."""
        flow = self.flow_of_server(segment)
        if flow is None:
            return segment
        return segment.replace(acknowledgement=(segment.acknowledgement + flow["delta"]) % 2**32)

