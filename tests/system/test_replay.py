# SPDX-License-Identifier: GPL-2.0-or-later
"""A token that was seen on its way, used again. The network is drawn in topology.py (Crossroads).

The client is an unmodified kernel with TCP timestamps behind knockgw's egress role on the same host.
"""
import ipaddress

import pytest
from scapy.all import TCP, rdpcap

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE, Daemon, url, wait_until
from topology import Crossroads

SECRET = "h:7265706c6179"
ADDRESSES = '[ "10.2.0.1", "fd02::1" ]'


def service(more=""):
    return f"""services = ( {{ name = "web"; address = {ADDRESSES}; port = 80; secret = "{SECRET}";
      {more} }} );
      queues = {{ first = 40; count = 2; }};"""


@pytest.fixture
def net(lab):
    net = Crossroads(lab)
    net.client.sysctl("net.ipv4.tcp_timestamps", 1)
    # The raw client's kernel must not answer for it.
    net.other.nft("""table inet raw { chain out { type filter hook output priority 0;
                     tcp flags & rst == rst drop; }; }""")
    Daemon(lab, net.client, f"""
        egress = ( {{ name = "web"; destination = {ADDRESSES}; port = 80; secret = "{SECRET}"; }} );
        queues = {{ first = 40; count = 1; }};
        state_directory = "{lab.folder}/egress";""").start()
    return net


def protect(net, more=""):
    net.daemon = Daemon(net.lab, net.gateway, service(more)).start()
    return net.daemon


def fetch(net, family):
    return net.client.run(["curl", "-sS", "-m", "10", url(Crossroads.GATEWAY[family])]).stdout


def captured_syn(net, family):
    """Lets the client connect, and returns ISN and TSval of its SYN as they were on the wire."""
    capture = net.lab.capture(net.gateway, "client0", "tcp")
    assert fetch(net, family) == "hidden page"

    def find():
        for packet in rdpcap(str(capture.capture_path)):
            if TCP in packet and packet[TCP].flags == "S":
                return packet[TCP].seq, dict(packet[TCP].options)["Timestamp"][0], packet[TCP].sport
        return None

    return wait_until(find, what="the SYN")


def send(net, source, family, port, *syns):
    """Sends SYNs (ISN, TSval) from that port of other; returns the flags of each answer."""
    script = "".join(f"""
c.isn = {isn}
c.send("S", options=[("Timestamp", ({tsval}, 0))])
answer = c.receive()
print(answer.flags if answer is not None else "silence")
""" for isn, tsval in syns)
    return net.other.run([PYTHON, SOURCE / "tests/system/raw_client.py", Crossroads.GATEWAY[family],
                          source, 80, port, "0"], input=script).stdout.split()


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_replay_from_another_host(net, family):
    daemon = protect(net)
    isn, tsval, port = captured_syn(net, family)
    # From another address, from the client's port and from another one.
    assert send(net, Crossroads.OTHER[family], family, port, (isn, tsval)) == ["RA"]
    assert send(net, Crossroads.OTHER[family], family, port ^ 1, (isn, tsval)) == ["RA"]
    replays = daemon.wait_event(event="refused", reason="token-replayed", service="web", key="1")
    assert ipaddress.ip_address(replays[0]["source"].rsplit(":", 1)[0].strip("[]")) == \
        ipaddress.ip_address(Crossroads.OTHER[family])
    # That costs the client nothing.
    assert fetch(net, family) == "hidden page"


def tokens(net, family, *tsvals):
    """Right SYNs with these TSvals."""
    secret = bytes.fromhex(SECRET.removeprefix("h:")).decode()
    return [(knock_client.token(KNOCKCTL, secret, Crossroads.GATEWAY[family], 80,
                                tsval=tsval), tsval) for tsval in tsvals]


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_replay_from_another_port_of_the_same_host(net, family):
    protect(net)
    first, second = tokens(net, family, 0x1111, 0x2222)
    host = Crossroads.OTHER[family]
    # A SYN that is sent again by the same is answered again.
    assert send(net, host, family, 40000, first, first) == ["SA", "SA"]
    assert send(net, host, family, 40001, first) == ["RA"]
    # The same host connects anew: another port, another TSval.
    assert send(net, host, family, 40002, second) == ["SA"]
    assert send(net, host, family, 40003, first, second) == ["RA", "RA"]
    assert len(net.daemon.events(event="refused", reason="token-replayed")) == 3


def test_connections_of_one_moment_have_one_token(net):
    """Many kernels give all that they open to a server in a millisecond the same TSval. Recent ones
    add an offset that depends on the ports, which the 2 switches off."""
    protect(net)
    net.client.sysctl("net.ipv4.tcp_timestamps", 2)
    capture = net.lab.capture(net.gateway, "client0", "tcp[tcpflags] & tcp-syn != 0")
    targets = []
    for number in range(40):
        targets += ["-o", "/dev/null", url("10.2.0.1", str(number))]

    def several_ports_with_one_token():
        net.client.run(["curl", "-sS", "-m", "10", "--parallel", "--parallel-immediate",
                        "--parallel-max", "40", *targets])
        segments = [packet[TCP] for packet in rdpcap(str(capture.capture_path))]
        answered = {segment.dport for segment in segments if segment.flags == "SA"}
        tokens = {syn.sport: syn.seq for syn in segments
                  if syn.flags == "S" and syn.sport in answered}
        return len(set(tokens.values())) < len(tokens)

    wait_until(several_ports_with_one_token, what="two answered connections with the same token")


def test_window_ends(net):
    # Long enough for the second client to start on a busy machine.
    protect(net, "replay_window = 12;")
    first, = tokens(net, 0, 0x1111)
    assert send(net, "10.4.0.2", 0, 40000, first) == ["SA"]
    assert send(net, "10.4.1.2", 0, 40000, first) == ["RA"]
    wait_until(lambda: send(net, "10.4.1.2", 0, 40001, first) == ["SA"],
               timeout=40, what="the window to end")


def test_without_protection(net):
    """Switched off, and without timestamps, the same token opens again."""
    protect(net, "replay_window = 0;")
    first, = tokens(net, 0, 0x1111)
    assert send(net, "10.4.0.2", 0, 40000, first) == ["SA"]
    assert send(net, "10.4.1.2", 0, 40000, first) == ["SA"]
    net.daemon.stop()
    protect(net)
    without = tokens(net, 0, 0)[0]
    assert send(net, "10.4.0.2", 0, 40002, without) == ["SA"]
    assert send(net, "10.4.1.2", 0, 40002, without) == ["SA"]
