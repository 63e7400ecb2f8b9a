# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode of the egress role when something is wrong: servers that refuse or are silent, clients
that are silent or send too little, floods, filters, and a daemon that dies. The network is TwoGateways
in topology.py."""
import pathlib
import subprocess
import time

import pytest
from scapy.all import TCP

from egress_net import get, stop_capture
from lab import PYTHON, SOURCE, Daemon, patient, wait_until
from splice_net import HELLO, Client, IntegrityNet, N, destination, egress_config, protect_config
from topology import TwoGateways

FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
SERVER = TwoGateways.SERVER


@pytest.fixture
def net(lab):
    return IntegrityNet(lab, options="collect_timeout = 2; connect_timeout = 4;")


def half_made(net):
    return [flow for flow in net.flows()
            if flow["state"] in ("collecting", "connecting", "delivering", "broken")]


def assert_told(net, reason, address, port):
    """The log names the server as the destination, whoever sent the segment that decided."""
    told, = net.daemon.wait_event(event="given-up", reason=reason)
    assert told["destination"] == (f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


def silence_server(net):
    """What goes to the server is lost behind the NAT."""
    net.nat.nft("""table inet lossy { chain forward { type filter hook forward priority 0;
        oifname "up0" tcp dport { 80, 7000 } drop; }; }""")


def let_server_speak(net):
    net.nat.run("nft delete table inet lossy")


def waits_for_reset(net, capture):
    """Whether the client got an RST from the server's side."""
    return any(packet[TCP].flags.R for packet in stop_capture(capture)
               if packet[TCP].sport in (80, 7000, 7001))


@FAMILIES
def test_server_refuses(net, family):
    """A port on which nobody listens, and a secret that the server does not know."""
    seen = net.lab.capture(net.laptop, "up0")
    closed = Client(net.laptop, SERVER[family], 7001)
    assert closed.connected == "open"
    assert closed.echo() == "ConnectionResetError"
    assert waits_for_reset(net, seen)
    assert_told(net, "server-refused", SERVER[family], 7001)
    net.daemon.stop()
    net.daemon.config.write_text(net.daemon.config.read_text().replace("first bytes", "others"))
    net.daemon.start()
    stranger = Client(net.laptop, SERVER[family])
    assert stranger.echo() == "ConnectionResetError"
    assert net.connections() == 0
    wait_until(lambda: half_made(net) == [], what="the end of the connections")
    assert net.statistics()["server-refused"] >= 1


@FAMILIES
def test_server_checks_another_number_of_bytes(lab, family):
    """It takes the SYN and refuses the bytes: the log on the clients' side says so."""
    net = IntegrityNet(lab, integrity=N - 1)
    assert Client(net.laptop, SERVER[family]).echo() == "ConnectionResetError"
    assert_told(net, "server-refused", SERVER[family], 7000)
    assert net.statistics()["server-refused"] == 1


@FAMILIES
@pytest.mark.parametrize("error", ["host-unreachable", "admin-prohibited", "port-unreachable"])
def test_server_that_cannot_be_reached(net, family, error):
    """A router on the way says so: the client need not wait for connect_timeout."""
    net.nat.nft(f"""table inet wall {{ chain forward {{ type filter hook forward priority 0;
        oifname "up0" tcp dport 7000 reject with icmpx {error}; }}; }}""")
    begun = time.monotonic()
    assert Client(net.laptop, SERVER[family]).echo() == "ConnectionResetError"
    assert_told(net, "server-unreachable", SERVER[family], 7000)
    assert len(net.daemon.events(event="given-up")) == 1 and time.monotonic() - begun < patient(3)
    net.nat.run("nft delete table inet wall")
    assert Client(net.laptop, SERVER[family]).echo() == HELLO


@FAMILIES
def test_server_takes_no_segment_of_that_length(lab, family):
    net = IntegrityNet(lab, destination(integrity=3000), integrity=3000)
    assert Client(net.laptop, SERVER[family]).echo(HELLO * 50) == "ConnectionResetError"
    assert_told(net, "payload-too-long", SERVER[family], 7000)


@FAMILIES
def test_server_is_silent(net, family):
    """The SYN is sent again with the same token until connect_timeout, then the client is told."""
    silence_server(net)
    wire = net.lab.capture(net.nat, "in0", "tcp or ip6")
    client = Client(net.laptop, SERVER[family])
    assert client.echo() in ("ConnectionResetError", "TimeoutError")
    syns = [packet for packet in stop_capture(wire) if TCP in packet and packet[TCP].flags == "S"]
    assert len(syns) >= 2
    assert len({(packet[TCP].seq, str(packet[TCP].options)) for packet in syns}) == 1
    assert 3 < syns[-1].time - syns[0].time + 2 < 6
    assert net.daemon.wait_event(event="given-up", reason="server-silent")
    assert half_made(net) == []
    let_server_speak(net)
    assert Client(net.laptop, SERVER[family]).echo() == HELLO


@FAMILIES
@pytest.mark.parametrize("first", [0, 1, N - 1])
def test_client_that_sends_too_little_is_reset(net, family, first):
    wire = net.lab.capture(net.nat, "in0", "tcp or ip6")
    client = Client(net.laptop, SERVER[family])
    assert client.connected == "open"
    if first > 0:
        assert client.send(HELLO[:first]) == "sent"
    assert client.receive(1) == "ConnectionResetError"
    assert net.daemon.wait_event(event="given-up", reason="collect-timeout")
    assert half_made(net) == []
    assert not any(TCP in packet for packet in stop_capture(wire))


def test_client_that_takes_its_time(net):
    """Bytes one by one within collect_timeout are as good as all at once."""
    client = Client(net.laptop, SERVER[0])
    for byte in HELLO:
        assert client.send(bytes([byte])) == "sent"
    assert client.receive(len(HELLO)) == HELLO


def test_signature_leads_nothing_past_the_check(net):
    """A client that signs its first bytes, and not its SYN."""
    net.laptop.nft("""table inet quiet { chain out { type filter hook output priority 0;
        tcp sport 30000 tcp flags & rst == rst drop; }; }""")
    wire = net.lab.capture(net.nat, "in0", "tcp")
    script = f"""c.connect()
c.send("PA", 1, bytes({N}), options=[(19, bytes(16))])
while (segment := c.receive(1)) is not None:
    print(len(segment.payload))
"""
    said = net.laptop.run([PYTHON, SOURCE / "tests/system/raw_client.py", SERVER[0],
                           TwoGateways.LAPTOP[0], 7000, 30000, "11223344"], input=script).stdout
    assert str(N) in said.split()
    outgoing = [packet[TCP] for packet in stop_capture(wire) if packet[TCP].dport == 7000]
    assert outgoing[0].flags == "S" and outgoing[1].seq == outgoing[0].seq + 1


def test_client_that_closes_early(net):
    wire = net.lab.capture(net.nat, "in0", "tcp")
    client = Client(net.laptop, SERVER[0])
    assert client.send(HELLO[:5]) == "sent"
    client.abort()
    wait_until(lambda: half_made(net) == [], what="the end of the connection")
    assert list(stop_capture(wire)) == []
    assert net.statistics()["client-gone"] >= 1
    assert net.daemon.wait_event(event="given-up", reason="client-gone")


@pytest.mark.parametrize("first", [0, 5])
def test_plain_attempt_if_told_to(lab, first):
    """A server with integrity = 0 is reached after collect_timeout, also by a client that waits for
    the server to speak first."""
    net = IntegrityNet(lab, integrity=0,
                       options='collect_timeout = 1; on_timeout = "plain"; timestamps = true;')
    client = Client(net.laptop, SERVER[0])
    if first > 0:
        assert client.send(HELLO[:first]) == "sent"
        assert client.receive(first) == HELLO[:first]
    else:
        wait_until(lambda: net.connections() == 1, what="a connection at the server")
    assert client.echo() == HELLO
    # With integrity at the server such an attempt gets nothing.
    net.protect.stop()
    Daemon(lab, net.gateway, protect_config()).start()
    client = Client(net.laptop, SERVER[0])
    assert client.receive(1) == "ConnectionResetError"


def test_filter_that_forbids_the_connection(net):
    """What the administrator's own rules refuse is refused, whoever answered the handshake."""
    net.egress.nft("""table inet filter { chain forward { type filter hook forward priority 0;
        tcp dport 7000 reject with tcp reset; }; }""")
    wire = net.lab.capture(net.nat, "in0", "tcp")
    client = Client(net.laptop, SERVER[0])
    assert client.echo() == "ConnectionResetError"
    assert half_made(net) == []
    assert list(stop_capture(wire)) == []
    assert get(net.laptop, SERVER[0]) == "a hidden page"


@FAMILIES
@pytest.mark.parametrize("integrity", [0, N], ids=["auth", "integrity"])
def test_errors_of_the_gateway_itself_arrive(lab, integrity, family):
    """About connections that its filter rejects, to what is no destination of egress."""
    net = IntegrityNet(lab, destination(integrity), integrity=integrity)
    net.egress.nft("""table inet filter {
        chain forward { type filter hook forward priority 0; tcp dport 7005 reject; };
        chain output { type filter hook output priority 0; tcp dport 7005 reject; }; }""")
    for host in (net.laptop, net.egress):
        assert Client(host, SERVER[family], 7005).connected == "ConnectionRefusedError"
    assert Client(net.laptop, SERVER[family]).echo() == HELLO


def test_restart_with_connections_in_all_stages(lab):
    """Those that are joined live on; those that are not are reset on both sides."""
    net = IntegrityNet(lab, options="collect_timeout = 60;")
    joined = [Client(net.laptop, server) for server in SERVER]
    assert [client.echo() for client in joined] == [HELLO, HELLO]
    collecting = Client(net.laptop, SERVER[0])
    assert collecting.send(HELLO[:10]) == "sent"
    silence_server(net)
    connecting = Client(net.laptop, SERVER[1])
    assert connecting.send(HELLO) == "sent"
    wait_until(lambda: {flow["state"] for flow in half_made(net)} == {"collecting", "connecting"},
               what="half-made connections")
    net.daemon.kill()
    let_server_speak(net)
    net.daemon.start()
    for client in (collecting, connecting):
        assert client.receive(1) == "ConnectionResetError"
    for client in joined:
        assert client.echo(HELLO * 500) == HELLO * 500
    # What is left of them answers whatever may still come.
    assert {flow["state"] for flow in half_made(net)} == {"broken"}
    assert net.connections() == 2
    assert Client(net.laptop, SERVER[0]).echo() == HELLO


@FAMILIES
def test_stop_resets_half_made_connections(lab, family):
    """At once, not when the daemon is back; nothing goes to a server that knows nothing yet."""
    net = IntegrityNet(lab, options="collect_timeout = 60;")
    joined = Client(net.laptop, SERVER[family])
    assert joined.echo() == HELLO
    wire = lab.capture(net.nat, "in0", "tcp port 7001")
    collecting = Client(net.laptop, SERVER[family], 7001)
    assert collecting.send(HELLO[:10]) == "sent"
    silence_server(net)
    connecting = Client(net.laptop, SERVER[family])
    assert connecting.send(HELLO) == "sent"
    wait_until(lambda: {flow["state"] for flow in half_made(net)} == {"collecting", "connecting"},
               what="half-made connections")
    net.daemon.stop()
    for client in (collecting, connecting):
        assert client.receive(1) == "ConnectionResetError"
    assert len(net.daemon.events(event="given-up", reason="stopped")) == 2
    assert half_made(net) == []
    let_server_speak(net)
    net.daemon.start()
    assert joined.echo(HELLO * 500) == HELLO * 500
    assert net.connections() == 1
    assert list(stop_capture(wire)) == []


TRANSFER = """
import hashlib, os, socket, sys, threading
size = int(sys.argv[3])
data = os.urandom(1 << 20) * (size >> 20)
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
threading.Thread(target=s.sendall, args=(data,), daemon=True).start()
received, said = 0, 0
digest = hashlib.sha256()
while received < size:
    part = s.recv(65536)
    assert part, received
    digest.update(part)
    received += len(part)
    if received * 10 // size > said:
        said = received * 10 // size
        print(said, flush=True)
assert digest.digest() == hashlib.sha256(data).digest()
print('same', flush=True)
"""


@FAMILIES
def test_transfer_survives_kill(net, family):
    client = net.laptop.start([PYTHON, "-c", TRANSFER, SERVER[family], 7000, 60 << 20],
                              stdout=subprocess.PIPE, text=True)
    assert client.stdout.readline() == "1\n"
    for _ in range(3):
        net.daemon.kill()
        net.daemon.start()
    said = client.stdout.read()
    assert said.endswith("same\n")
    assert client.wait(timeout=60) == 0


def test_stopped_daemon_leaves_joined_connections_to_another_number_of_workers(lab):
    net = IntegrityNet(lab, options="collect_timeout = 60;")
    clients = [Client(net.laptop, server) for server in SERVER * 4]
    assert all(client.echo() == HELLO for client in clients)
    net.daemon.stop()
    assert net.daemon.events(event="ruleset-kept")
    Daemon(net.lab, net.egress, egress_config(net.lab, queues=3)).start()
    assert all(client.echo() == HELLO for client in clients)
    assert Client(net.laptop, SERVER[1]).echo() == HELLO


def resident(daemon):
    """Memory in kB."""
    for line in pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_flood_of_syns_from_inside(lab):
    """One host sends SYNs and nothing else: others still connect, and everything is forgotten in
    time. A second flood takes no more memory than the first."""
    net = IntegrityNet(lab, options="collect_timeout = 5;")
    # The client's kernel knows nothing of these connections and would reset them.
    net.laptop.nft("""table inet quiet { chain out { type filter hook output priority 0;
        ip saddr 10.0.0.66 tcp flags & rst == rst drop; }; }""")
    net.laptop.address("up0", "10.0.0.66/24")
    sizes = []
    for _ in range(3):
        seen = len(net.daemon.events(event="refused", reason="table-full"))
        flood = net.laptop.start([PYTHON, SOURCE / "tests/system/syn_flood.py", "10.0.0.66",
                                  SERVER[0], 80, 6000, 100])
        wait_until(lambda seen=seen: len(net.daemon.events(
            event="refused", reason="table-full")) > seen, what="a full table")
        assert 0 < len(half_made(net)) <= 1024
        assert Client(net.laptop, SERVER[0], source="10.0.0.2").echo() == HELLO
        assert Client(net.laptop, SERVER[1]).echo() == HELLO
        assert get(net.egress, SERVER[0]) == "a hidden page"
        assert flood.wait(timeout=60) == 0
        wait_until(lambda: half_made(net) == [], what="the end of all half-made connections")
        sizes.append(resident(net.daemon))
    assert sizes[2] - sizes[0] < 4096, sizes
    assert len(net.daemon.events(event="refused", reason="table-full")) > 0


def test_full_table_leaves_joined_connections_alone(net):
    """Half-made ones from many hosts take all the room there is: what is joined goes on, and when
    they have timed out there is room again."""
    joined = Client(net.laptop, SERVER[0])
    assert joined.echo() == HELLO
    net.laptop.nft("""table inet quiet { chain out { type filter hook output priority 0;
        ip saddr 10.0.0.128/25 tcp flags & rst == rst drop; }; }""")
    hosts = [f"10.0.0.{host}" for host in range(129, 149)]
    net.laptop.address("up0", *(f"{host}/24" for host in hosts))
    floods = [net.laptop.start([PYTHON, SOURCE / "tests/system/syn_flood.py", host, SERVER[0], 80,
                                300, 100]) for host in hosts]
    assert all(flood.wait(timeout=100) == 0 for flood in floods)
    assert net.statistics()["table-full"] > 0
    assert joined.echo(HELLO * 500) == HELLO * 500
    # Its SYN is sent again until there is room.
    assert Client(net.laptop, SERVER[1]).echo() == HELLO
