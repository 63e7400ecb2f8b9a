# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode of the egress role: unmodified clients, whose SYN waits at the gateway until it can
carry a hash of their first bytes, in front of a protect gateway with integrity = N.

    laptop ---------- egress ------------ nat ------------- gateway ------------ server
      10.0.0.2  10.0.0.1   10.1.0.2  10.1.0.1   10.2.0.2  10.2.0.1   10.3.0.1  10.3.0.2
      fd00::2    fd00::1    fd01::2   fd01::1    fd02::2   fd02::1    fd03::1   fd03::2
"""
import json

import pytest
from scapy.all import TCP

import knock_server
from egress_net import get, mangle, mangled, stop_capture
from lab import KNOCKCTL, wait_until
from splice_net import (HELLO, SECRET, Client, IntegrityNet, N, destination, echo_bulk,
                        protect_config)
from topology import TwoGateways

FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
PATHS = pytest.mark.parametrize("masquerade", [True, False], ids=["masquerade", "routed"])
SERVER = TwoGateways.SERVER


@pytest.fixture
def net(lab):
    return IntegrityNet(lab)


def get_tls(namespace, address):
    host = f"[{address}]" if ":" in address else address
    return namespace.run(["curl", "-sS", "-k", "-m", "20", f"https://{host}/"],
                         check=False).stdout


@FAMILIES
@PATHS
def test_unmodified_clients_reach_a_server_that_checks_their_bytes(lab, masquerade, family):
    net = IntegrityNet(lab, masquerade=masquerade)
    lab.tls_server(net.server, 443, "a hidden page over TLS")
    for client in (net.laptop, net.egress):
        for _ in range(2):
            assert get(client, SERVER[family]) == "a hidden page"
            assert get_tls(client, SERVER[family]) == "a hidden page over TLS"
    # Who is not behind egress finds a closed port.
    assert Client(net.nat, SERVER[family], 80).connected == "ConnectionRefusedError"
    statistics = net.statistics()
    assert statistics["token-written"] == statistics["handshake-answered"] == 8
    assert "flow-unknown" not in statistics
    assert len(net.protect.events(event="verified")) == 8


@FAMILIES
@PATHS
def test_bulk_both_ways(lab, masquerade, family):
    net = IntegrityNet(lab, masquerade=masquerade)
    for _ in range(2):
        assert echo_bulk(net.laptop, SERVER[family], 4 << 20) == "same\n"


@FAMILIES
def test_bulk_and_handshakes_over_a_bad_network(net, family):
    """Loss, reordering and duplicates, both ways. Every SYN that is sent again has the same token."""
    wire = net.lab.capture(net.nat, "in0", "tcp[tcpflags] & tcp-syn != 0 or ip6")
    process = mangle(net, 20, 30, 30)
    for _ in range(2):
        assert echo_bulk(net.laptop, SERVER[family], 2 << 20) == "same\n"
    fetched = 0
    while fetched < 20 or net.statistics().get("halves-joined", 0) < 20:
        assert get(net.laptop, SERVER[family]) == "a hidden page"
        fetched += 1
    did = mangled(process)
    assert did["dropped"] > 20 and did["reordered"] > 20 and did["duplicated"] > 20
    syns = {}
    for packet in stop_capture(wire):
        if TCP in packet and packet[TCP].flags == "S":
            syns.setdefault(packet[TCP].sport, set()).add(packet[TCP].seq)
    assert len(syns) >= 20 and all(len(numbers) == 1 for numbers in syns.values())


def ports_of(packets):
    return {packet[TCP].sport for packet in packets if TCP in packet and packet[TCP].flags == "S"}


@FAMILIES
def test_first_bytes_leave_in_one_segment_as_knock_expects_them(net, family):
    """Clients that write little at a time, much at a time, and nothing for a while, before a model of
    Knock's server and before knockctl replay."""
    server = SERVER[family]
    wire = net.lab.capture(net.nat, "in0", "tcp port 7000 or tcp port 80")
    writes = [[1] * N, [N], [N - 1, 1], [N + 1], [5, 2000], [3000], [N, 1, 1]]
    for sizes in writes:
        client = Client(net.laptop, server)
        assert client.connected == "open"
        for size in sizes:
            assert client.send(HELLO * 50 if size > 64 else HELLO[:size]) == "sent"
        total = sum(3200 if size > 64 else size for size in sizes)
        assert len(client.receive(total)) == total
        client.abort()
    assert get(net.laptop, server) == "a hidden page"
    wire.terminate()
    wire.wait()
    packets = [packet for packet in stop_capture(wire)]
    outgoing = [packet for packet in packets if packet[TCP].dport in (80, 7000)]
    fates = knock_server.judge(outgoing, SECRET, N)
    assert len(fates) == len(writes) + 1 and set(fates.values()) == {"opened"}
    # The model is no yes-man.
    assert set(knock_server.judge(outgoing, SECRET, N - 1).values()) == {"reset"}
    assert set(knock_server.judge(outgoing, "another", N).values()) == {"refused"}
    # Neither a byte nor a FIN left before the first N bytes, and those in order.
    for port in ports_of(outgoing):
        segments = [packet for packet in outgoing if packet[TCP].sport == port]
        first = next(packet for packet in segments if knock_server.data_of(packet))
        before = segments[:segments.index(first)]
        assert all(not packet[TCP].flags.F and not packet[TCP].flags.R for packet in before)
        assert first[TCP].seq == segments[0][TCP].seq + 1
        assert len(knock_server.data_of(first)) >= N
    config = net.lab.file("replay.conf", protect_config())
    said = json.loads(net.nat.run([KNOCKCTL, "replay", "--config", config, "--summary",
                                   wire.capture_path]).stdout)
    assert said["connections"] == said["opened"] == len(writes) + 1
    assert said["pending"] == said["refused_syn"] == said["refused_data"] == 0


def options_of(packet):
    found = dict(packet[TCP].options)
    return {"mss": found.get("MSS"), "scale": found.get("WScale"), "sack": "SAckOK" in found,
            "timestamps": "Timestamp" in found}


def stream_of(packets):
    """The bytes of a direction, by their distance from the ISN."""
    syn = next(packet for packet in packets if packet[TCP].flags.S)
    stream = {}
    for packet in packets:
        for at, byte in enumerate(knock_server.data_of(packet)):
            place = (packet[TCP].seq - syn[TCP].seq + at) % 2**32
            assert stream.setdefault(place, byte) == byte
    return bytes(stream[place] for place in sorted(stream))


def tsvals(packets):
    return [dict(packet[TCP].options)["Timestamp"] for packet in packets
            if "Timestamp" in dict(packet[TCP].options)]


class BothSides:
    """What one connection looks like at the client and on the wire."""

    def __init__(self, net, server, port=7000, source_port=0):
        inside = net.lab.capture(net.laptop, "up0", f"tcp port {port}")
        wire = net.lab.capture(net.nat, "in0", f"tcp port {port}")
        self.client = Client(net.laptop, server, port, source_port=source_port)
        for size in (64, 3200, 32000):
            assert self.client.echo(HELLO * (size // 64)) == HELLO * (size // 64)
        self.client.process.stdin.close()
        self.client.process.wait()
        wait_until(lambda: net.connections(port) == 0, what="the end of the connection")
        self.sent, self.got = self._split(stop_capture(inside), port)
        self.wire_sent, self.wire_got = self._split(stop_capture(wire), port)

    @staticmethod
    def _split(packets, port):
        return ([packet for packet in packets if packet[TCP].dport == port],
                [packet for packet in packets if packet[TCP].sport == port])

    def offered(self):
        """What the client got offered, and what the server negotiated."""
        return options_of(self.got[0]), options_of(self.wire_got[0])


def queued(net):
    """Packets of each queue of integrity mode, whose queues come last."""
    counts = [row["packets"] for row in net.daemon.ask("stats")
              if row["kind"] == "queue" and row["role"] == "egress"]
    return counts[len(counts) // 2:]


@FAMILIES
@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timestamps"])
def test_client_is_promised_what_the_server_negotiated_last_time(lab, timestamps, family):
    net = IntegrityNet(lab, queues=2, options="timestamps = true; mss_ipv4 = 600; mss_ipv6 = 1300;"
                       if timestamps else "")
    server = SERVER[family]
    # These ports lie on different queues.
    first = BothSides(net, server, source_port=20000)
    promised, negotiated = first.offered()
    default = (1300 if family else 600) if timestamps else (1220 if family else 536)
    assert promised == {"mss": default, "scale": None, "sack": False, "timestamps": timestamps}
    assert negotiated["scale"] is not None and negotiated["sack"]
    assert [count > 0 for count in queued(net)] == [True, False]
    second = BothSides(net, server, source_port=20002)
    assert [count > 0 for count in queued(net)] == [True, True]
    promised, negotiated = second.offered()
    assert promised == negotiated
    assert promised["timestamps"] == timestamps and promised["sack"]
    # A server that changes its mind disappoints nobody for long.
    net.server.sysctl("net.ipv4.tcp_sack", 0)
    net.server.sysctl("net.ipv4.tcp_window_scaling", 0)
    for connection in (BothSides(net, server), BothSides(net, server)):
        promised, negotiated = connection.offered()
    assert promised == negotiated
    assert promised["scale"] is None and not promised["sack"]


def check_clock(got, wire_got):
    """What the client sees of the server's clock is that clock moved by one number, and what the
    gateway said before it does not lie ahead of it. In any order: two processors of a server may
    overtake each other on the wire."""
    clock = [tsval for tsval, _ in tsvals(got)]
    server = [tsval for tsval, _ in tsvals(wire_got[1:])]
    assert len(server) > 5
    moved = (max(clock) - max(server)) % 2**32
    translated = {(tsval + moved) % 2**32 for tsval in server}
    assert translated <= set(clock)
    assert all((min(translated) - tsval) % 2**32 < 2**20 for tsval in set(clock) - translated)


@FAMILIES
def test_numbers_are_translated_both_ways(lab, family):
    net = IntegrityNet(lab, options="timestamps = true;")
    for _ in range(2):
        seen = BothSides(net, SERVER[family])
        for near, far in ((seen.sent, seen.wire_sent), (seen.got, seen.wire_got)):
            assert near[0][TCP].seq != far[0][TCP].seq
            stream = stream_of(near)
            assert stream == stream_of(far) and len(stream) == 64 + 3200 + 32000
        # Each side hears its own clock in the echoes.
        for said, heard in ((seen.sent, seen.got), (seen.wire_got, seen.wire_sent)):
            own = {tsval for tsval, _ in tsvals(said)}
            echoes = {tsecr for _, tsecr in tsvals(heard)} - {0}
            assert echoes and echoes <= own
        check_clock(seen.got, seen.wire_got)
        assert not any("Timestamp" not in dict(packet[TCP].options)
                       for packet in seen.wire_sent if not packet[TCP].flags.R)


def windows_of(packets, peer):
    """The windows of segments with data, by their place in both streams."""
    first, other = packets[0][TCP], peer[0][TCP]
    return {((packet[TCP].seq - first.seq) % 2**32, (packet[TCP].ack - other.seq) % 2**32,
             len(knock_server.data_of(packet))): packet[TCP].window
            for packet in packets if knock_server.data_of(packet)}


def test_window_scales_may_differ(lab):
    """The first connection to a server has no window scaling at the client, but at the server: what
    the client hears is the same room in other words, as far as words reach."""
    net = IntegrityNet(lab, queues=1)
    seen = BothSides(net, SERVER[0])
    assert seen.offered()[0]["scale"] is None and (shift := seen.offered()[1]["scale"]) > 0
    near = windows_of(seen.got, seen.sent)
    far = windows_of(seen.wire_got, seen.wire_sent)
    common = near.keys() & far.keys()
    assert len(common) > 2
    assert all(near[place] == min(far[place] << shift, 65535) for place in common)


def test_both_modes_beside_each_other(lab):
    """The echo is reached by its token alone, the page by its first bytes, too."""
    net = IntegrityNet(lab, destination(0, "echo", 7000), destination(N, "web", 80), integrity=N)
    net.protect.stop()
    net.protect.config.write_text(net.protect.config.read_text().replace(
        "port = [ 80, 443, 7000, 7001 ];", "port = 80;").replace("services = (", f"""services = (
        {{ name = "echo"; address = [ "10.3.0.2", "fd03::2" ]; port = 7000; secret = "{SECRET}"; }},
        """))
    net.protect.start()
    for server in SERVER:
        client = Client(net.laptop, server)
        assert client.echo(b"short") == b"short"
        assert get(net.laptop, server) == "a hidden page"
        assert client.echo() == HELLO
    assert {flow["mode"] for flow in net.flows()} == {"auth", "integrity"}
