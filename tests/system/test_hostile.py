# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes that make no sense, from both sides of both gateways: the daemons go on, nothing opens."""
import pytest

from egress_net import Net, get
from lab import PYTHON

# Sends a bounded number of odd packets between two addresses: random flags, numbers, options and
# lengths, truncated and overlong headers, fragments, extension headers, ICMP errors with odd quotes.
SENDER = r"""
import random, sys
from scapy.all import *
conf.verb = 0
source, destination, seed, count, ports = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]), \
    [int(port) for port in sys.argv[5].split(',')]
r = random.Random(seed)
v6 = ':' in source
raw = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

def noise(size):
    return bytes(r.getrandbits(8) for _ in range(size))

def tcp(source, destination):
    header = bytearray(bytes(TCP(sport=r.choice(ports + [r.randrange(1, 65536)]), dport=r.choice(ports),
        flags=r.randrange(256), seq=r.getrandbits(32), ack=r.getrandbits(32))) + noise(r.choice((0, 0, 40, 4))))
    if r.random() < 0.5:
        header[12] = r.randrange(16) << 4
    kinds = [bytes([8, 10]) + noise(8), bytes([5, r.randrange(40)]) + noise(32), bytes([19, 18]) + noise(16),
             bytes([2, 0]), bytes([34, 255]), bytes([1, 0])]
    if len(header) > 40:
        option = r.choice(kinds)[:40]
        header[20:20 + len(option)] = option
    return bytes(header) + noise(r.choice((0, 1, 300)))

def ip(source, destination, protocol, payload):
    if v6:
        packet = IPv6(src=source, dst=destination)
        if r.random() < 0.2:
            packet /= r.choice([IPv6ExtHdrDestOpt(), IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(),
                                IPv6ExtHdrFragment(offset=r.choice((0, 1, 3)), m=r.randrange(2))])
            packet.lastlayer().nh = protocol
        else:
            packet.nh = protocol
        return packet / Raw(payload)
    options = [IPOption_RR()] if r.random() < 0.2 else []
    fragment = r.choice((0, 0, 0, 1, 3)) if r.random() < 0.2 else 0
    return IP(src=source, dst=destination, proto=protocol, options=options, frag=fragment,
              flags=r.choice(('DF', 'MF', 0, 0))) / Raw(payload)

def icmp(source, destination):
    inner = bytes(ip(destination, source, r.choice((6, 6, 6, 17)), tcp(destination, source)))
    inner = inner[:r.randrange(len(inner) + 1)]
    if v6:
        body = ICMPv6PacketTooBig(mtu=r.choice((0, 1280, 65535))) / Raw(inner)
        return bytes(IPv6(src=source, dst=destination) / body)
    return bytes(IP(src=source, dst=destination) / ICMP(type=r.choice((3, 4, 11, 12)), code=4) / Raw(inner))

for _ in range(count):
    packet = icmp(source, destination) if r.random() < 0.25 else \
        bytes(ip(source, destination, 6, tcp(source, destination)))
    if r.random() < 0.05:
        packet = packet[:r.randrange(20 if not v6 else 40, len(packet) + 1)]
    try:
        raw.sendto(packet, (destination, 0))
    except OSError:
        pass
"""


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_odd_packets_do_no_harm(lab, family):
    net = Net(lab, masquerade=False)
    # Without NAT what the server sends by itself reaches the laptop.
    net.nat.run("nft delete table inet nat")
    for way in ("-4 route add 10.0.0.0/24 via 10.2.0.2", "-6 route add fd00::/64 via fd02::2",
                "-4 route add 10.1.0.0/24 via 10.2.0.2", "-6 route add fd01::/64 via fd02::2"):
        net.gateway.run(f"ip {way}")
    laptop, server = net.LAPTOP[family], net.SERVER[family]
    assert get(net.laptop, server) == "a hidden page"
    ports = ",".join(str(flow["client_port"]) for flow in net.flows()) + ",80"
    senders = [namespace.start([PYTHON, "-c", SENDER, source, destination, seed, 3000, ports])
               for namespace, source, destination, seed in (
                   (net.laptop, laptop, server, 1), (net.server, server, laptop, 2),
                   (net.nat, ("10.1.0.1", "fd01::1")[family], server, 3))]
    for sender in senders:
        assert sender.wait(timeout=120) == 0
    for daemon in (net.daemon, net.protect):
        assert daemon.process.poll() is None, daemon.log()
        assert "ERROR" not in daemon.log() and "runtime error" not in daemon.log()
        assert not daemon.events(event="verified", reason="payload-valid")
    assert get(net.laptop, server) == "a hidden page"
    assert get(net.nat, server) == ""
    statistics = net.statistics()
    assert statistics["translated"] > 100 and statistics.get("quote-foreign", 0) > 10
