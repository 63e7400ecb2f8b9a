# SPDX-License-Identifier: GPL-2.0-or-later
"""What a gateway has to do with the first N bytes of a connection when they may come in several segments
(reassemble), from the design, the manual page and RFC 9293 alone.

Of each byte the first copy counts. Nothing reaches the server before all N are there and their hash is
that of the ISN, and from then on nothing else in their place. What the gateway acknowledged to the client
it owes the server. The connection is verified when the server has acknowledged both."""
from knock_model import COOKIE_SLACK, MOST_SPOILT, Protect, payload_hash
from wire import ACK, FIN, RST, SYN, URG

KEPT_BEHIND = 2048  # what begins further behind the N bytes need not be kept
PENDING, GATHERING, DELIVERY = 20_000, 10_000, 30_000  # milliseconds; the driver says 20 s
LATE = 2000  # when time is up, by how much the end may come later


class Disagreement(AssertionError):
    pass


def must(condition, what):
    if not condition:
        raise Disagreement(what)


def signed(number):
    return (number + 2**31) % 2**32 - 2**31


class Stream:
    """Those bytes of one connection, from its SYN on."""

    def __init__(self, isn, length, secret, now):
        self.isn, self.length, self.secret = isn, length, secret
        self.deadline = now + PENDING
        self.answering = False        # the client has acknowledged something: it wants to know of an end
        self.client_acknowledged = 0  # where a reset must stand for it
        self.server_first = None  # its sequence number behind the SYN+ACK
        self.server_next = None
        self.forget()

    def forget(self):
        self.copies = {}
        self.kept = False     # the gateway has bytes
        self.alone = False    # they came in one segment, which went on itself
        self.end = None
        self.checked = False
        self.promised = 0     # acknowledged to the client by the gateway
        self.server_has = 0

    def offset(self, number):
        return signed((number - self.isn - 1) % 2**32)

    def begins_late(self, segment):
        """Whether a server with SYN cookies, which has lost the connection, could begin its stream there."""
        offset = self.offset(segment.sequence)
        said = signed((segment.acknowledgement - self.server_first) % 2**32)
        return offset > 0 and abs(offset - said) <= COOKIE_SLACK

    def there(self):
        count = 0
        while count in self.copies:
            count += 1
        return count

    def first(self):
        return bytes(self.copies[at] for at in range(self.length))

    def differs(self, offset, payload, behind):
        """Whether it has other bytes than the first copies, before or behind the end of the check."""
        return any(self.copies.get(offset + i, byte) != byte for i, byte in enumerate(payload)
                   if (offset + i >= self.length) == behind)


class Streams(Protect):
    """As Protect, with reassemble for all services in integrity mode."""

    def __init__(self, services):
        super().__init__(services)
        self.streams = {}
        self.due = set()  # tuples that have to be verified now
        self.candidates = {}  # tuple: (ISN, secret) of a SYN that the server has yet to answer
        self.opened = {}      # tuple: (the server's first number, when it was verified)

    # What clients send.

    def client(self, segment, now):
        """Verdicts that are right; note_client() then looks at what went on."""
        if segment.is_initial_syn:
            return self.syn(segment, now)
        if segment.tuple in self.verified:
            return {"pass", "lookup"}
        if segment.tuple in self.streams:
            return self.of_stream(segment, self.streams[segment.tuple], now)
        verdicts, _ = self.judge(segment)
        return verdicts | {"lookup"} if "closed" in verdicts else verdicts

    def syn(self, segment, now):
        state = self.state(segment.tuple)
        if state != "new":
            return self.syn_on(segment, state)
        verdicts, _ = self.judge(segment)
        if verdicts == {"pending"}:
            self.begin(segment.tuple, *self.pending[segment.tuple], now)
        return verdicts

    def state(self, key):
        """What the kernel calls the connection."""
        return "pending" if key in self.streams else "verified" if key in self.verified else "new"

    def begin(self, key, isn, length, secret, now):
        self.verified.pop(key, None)
        self.candidates.pop(key, None)
        self.pending[key] = isn, length, secret
        self.streams[key] = Stream(isn, length, secret, now)

    def syn_on(self, segment, state):
        """A SYN on the tuple of a living connection takes nothing away from it: the server decides."""
        key = segment.tuple
        length, secrets = self.services[segment.destination, segment.destination_port]
        living = self.streams[key].isn if state == "pending" else self.verified[key]
        candidate, its_secret = self.candidates.get(key, (None, None))
        if segment.wrong_checksum:
            return {"closed", "drop"}
        spoilt = [isn for tuple_, isn in self.dead if tuple_ == key]
        if (key, segment.sequence) in self.dead or len(spoilt) == MOST_SPOILT:
            return {"closed"}
        secret = self.secret_for(segment, length, secrets)
        if secret is None and segment.sequence not in (living, candidate):
            return {"closed"}
        if segment.flags & URG:
            return {"closed"}
        if segment.sequence == living:
            return {"pending"} if state == "pending" else {"drop"}
        if segment.sequence != candidate:
            self.candidates[key] = segment.sequence, secret or its_secret
        return {"pending"} if state == "pending" else {"pass"}

    def of_stream(self, segment, stream, now):
        offset = stream.offset(segment.sequence)
        if segment.wrong_checksum or (segment.flags & URG and offset < stream.length):
            return {"drop"}
        if segment.flags & (SYN | RST):
            if segment.flags & RST and not segment.payload:
                stream.answering = False
            return {"drop"} if segment.payload else {"pending"}
        if not segment.flags & ACK:
            # No server takes it (RFC 9293 3.10.7.4).
            return {"drop"} if segment.payload else {"drop", "pending"}
        if stream.server_first is None or \
                (segment.acknowledgement - stream.server_first) % 2**32 > \
                (stream.server_next - stream.server_first) % 2**32:
            return {"drop"}  # it is about another connection
        stream.answering = True
        stream.client_acknowledged = segment.acknowledgement
        if stream.begins_late(segment) and not stream.checked and not (stream.kept or segment.payload):
            return {"drop"}
        if stream.checked:
            return self.behind_check(segment, stream, offset)
        if not segment.payload and not segment.flags & FIN:
            return {"pending"}
        return self.gather(segment, stream, offset, now)

    def gather(self, segment, stream, offset, now):
        if not segment.payload and not stream.kept:
            return {"pending"} if offset == 0 else {"drop"}
        if not 0 <= offset < stream.length + KEPT_BEHIND:
            return {"drop"}
        if not stream.kept:
            stream.alone = offset == 0 and len(segment.payload) >= stream.length
            stream.kept = True
            stream.deadline = now + GATHERING
        for i, byte in enumerate(segment.payload):
            if offset + i < stream.length + (0 if stream.alone else KEPT_BEHIND):
                stream.copies.setdefault(offset + i, byte)
        if segment.flags & FIN:
            stream.end = offset + len(segment.payload)
        if stream.there() >= stream.length:
            if payload_hash(stream.secret, stream.first()) != stream.isn & 0xffff:
                return self.kill(segment.tuple)
            stream.checked = True
            stream.deadline = now + DELIVERY
            return {"deliver"}
        if stream.there() == stream.end:
            return self.kill(segment.tuple)
        return {"drop", "pending"}

    @staticmethod
    def behind_check(segment, stream, offset):
        if segment.flags & FIN and offset + len(segment.payload) < stream.length:
            return {"drop"}
        if segment.payload and (offset < 0 or stream.differs(offset, segment.payload, False)):
            return {"drop"}
        if 0 < offset <= COOKIE_SLACK and stream.begins_late(segment) and stream.server_has == 0:
            return {"drop"}
        # Where the gateway delivers bytes behind the check, too, it may insist on the first copies.
        return {"drop", "pending"} if stream.differs(offset, segment.payload, True) else {"pending"}

    def kill(self, key):
        self.dead.add((key, self.streams.pop(key).isn))
        del self.pending[key]
        return {"reset"}

    def note_client(self, was, verdict, out):
        """out: the segment that goes on to the server."""
        stream = self.streams.get(was.tuple)
        if stream is None or verdict not in ("pending", "deliver") or was.is_initial_syn:
            return
        if was.flags & RST:
            self.note_reset(was, stream, out)
            return
        self.reaches_server(stream, out)
        if verdict == "pending" and not stream.checked:
            must(not out.payload and (not out.flags & FIN or not stream.kept), "held, and goes on")
        if out.payload:
            early = (was.acknowledgement - out.acknowledgement) % 2**32
            must(early == 0 or stream.begins_late(was) and early <= 2 * COOKIE_SLACK + 1,
                 "acknowledges something else")
            must(out == was.replace(acknowledgement=out.acknowledgement),
                 "payload goes on, but not as it came")

    @staticmethod
    def note_reset(was, stream, out):
        """The server believes a reset that stands where its stream ends."""
        at_end = stream.offset(was.sequence) == stream.there()
        if stream.kept and not stream.alone and at_end:
            must(stream.offset(out.sequence) == stream.server_has, "a reset that no server believes")
            stream.forget()
        else:
            must(out == was, "a reset was changed")

    @staticmethod
    def reaches_server(stream, segment):
        """Whether that is as it must be, on its way in the client's name."""
        offset = stream.offset(segment.sequence)
        if segment.flags & (SYN | RST | ACK) == ACK:
            # Behind the first byte the client has to go on where the server stands.
            goes_on = stream.server_has > 0 and offset <= COOKIE_SLACK
            must(goes_on or not stream.begins_late(segment), "a number that SYN cookies take for the beginning")
        if segment.payload:
            must(stream.checked, "payload before the check")
            must(offset >= 0, "payload before the first byte")
            for i, byte in enumerate(segment.payload):
                if offset + i < max(stream.length, stream.promised):
                    must(stream.copies.get(offset + i) == byte, f"another byte {offset + i}")
        if segment.flags & (FIN | SYN | RST | ACK) == FIN | ACK and stream.kept:
            must(offset + len(segment.payload) >= stream.length, "an end among checked bytes")

    # What servers send.

    def answer(self, segment, key, now):
        """A SYN+ACK: of which connection?"""
        if not segment.flags & ACK:
            known = key in self.verified or key in self.streams
            return {"drop"} if known else {"drop", "reset"}
        isn, first = (segment.acknowledgement - 1) % 2**32, (segment.sequence + 1) % 2**32
        right = {"pending"} if key in self.verified else {"pass"}
        stream = self.streams.get(key)
        if self.verified.get(key) == isn and self.opened[key][0] == first:
            return {"pass"}  # sent again
        if stream is not None and stream.isn == isn:
            if stream.server_first not in (None, first):
                self.begin(key, *self.pending[key], now)
        elif self.verified.get(key) == isn:
            length, _ = self.services[segment.source, segment.source_port]
            self.begin(key, isn, length, self.opened[key][2], now)
        elif key in self.candidates and self.candidates[key][0] == isn:
            length, _ = self.services[segment.source, segment.source_port]
            self.begin(key, isn, length, self.candidates[key][1], now)
        else:
            return {"drop"} if key in self.verified or stream is not None else {"drop", "reset"}
        stream = self.streams[key]
        if stream.server_first != first:
            stream.server_first = stream.server_next = first
        return right

    def server(self, segment, now):
        source, source_port, destination, destination_port = segment.tuple
        key = destination, destination_port, source, source_port
        stream = self.streams.get(key)
        if segment.flags & (SYN | RST) == SYN:
            return self.answer(segment, key, now)
        if stream is None:
            known = key in self.verified or segment.flags & RST
            return {"pass"} if known else {"reset"}
        if segment.flags & RST:
            stream.forget()
            stream.answering = False
            stream.server_first = None
            return {"pass"}
        if not segment.flags & ACK or stream.server_first is None:
            return {"pass"}  # no client takes it, or it is about another connection
        after = (segment.sequence + len(segment.payload) +
                 sum(1 for flag in (SYN, FIN) if segment.flags & flag)) % 2**32
        if signed(after - stream.server_next) > 0:
            stream.server_next = after
        if stream.checked:
            self.acknowledged(key, stream, stream.offset(segment.acknowledgement), now)
        return {"pass"}

    def acknowledged(self, key, stream, offset, now):
        if offset > stream.server_has:
            stream.server_has = min(offset, stream.there())
        if stream.server_has >= max(stream.length, stream.promised):
            self.verified[key] = stream.isn
            self.opened[key] = stream.server_first, now, stream.secret
            self.due.add(key)
            del self.pending[key], self.streams[key]

    # What the gateway does by itself.

    def act(self, kind, key, segment, now):
        """One thing that it does: "to-client", "to-server", "verify" or "forget". key: the connection, which
        the order was about, or that of the segment."""
        if kind == "verify":
            must(key in self.due, "verified too early")
            self.due.remove(key)
            return
        if segment is not None and segment.flags & RST:
            self.gives_up(kind, segment, now)
            return
        if kind == "forget":
            return  # by then the stream is gone
        if key in self.due:
            return
        stream = self.streams.get(key)
        must(stream is not None, f"{kind}, about no connection that waits")
        if kind == "to-server":
            self.reaches_server(stream, segment)
            must(stream.offset(segment.sequence) + len(segment.payload) <= stream.there(),
                 "bytes that nobody sent")
            return
        offset = stream.offset(segment.acknowledgement)
        must(not segment.payload and segment.flags == ACK, "more than an acknowledgement")
        must(segment.sequence == stream.server_next, "an acknowledgement that no client believes")
        must(stream.kept and offset <= stream.there(), "acknowledged what is not there")
        stream.promised = max(stream.promised, offset)

    def gives_up(self, kind, segment, now):
        source, source_port, destination, destination_port = segment.tuple
        if kind == "to-client":
            key = destination, destination_port, source, source_port
            stream = self.streams.get(key)
            must(stream is not None and stream.deadline is None, "only one side is reset")
            must(segment.sequence == stream.client_acknowledged, "a reset that no client believes")
            self.kill(key)
            return
        stream = self.streams.get(segment.tuple)
        must(stream is not None and stream.answering, "a reset for nobody")
        must(stream.deadline <= now, "given up too early")
        must(stream.offset(segment.sequence) == stream.server_has, "a reset that no server believes")
        stream.deadline = None  # until the other side has its own

    def time_is(self, now):
        """After all actions: who is too late?"""
        must(not self.due, "not verified")
        for key, stream in list(self.streams.items()):
            if now < stream.deadline + LATE:
                continue
            must(not stream.answering, "not given up")
            del self.streams[key], self.pending[key]

    def near_end(self, now):
        """Whether a connection may be given up without a word at this moment."""
        return any(stream.deadline <= now for stream in self.streams.values())
