# SPDX-License-Identifier: GPL-2.0-or-later
"""Failed tokens by source prefix and service. The network is drawn in topology.py (Crossroads)."""
import os

import pytest

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE, Daemon, wait_until
from topology import Crossroads

SECRET = "limited"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}


def config(limits):
    return f"""services = ( {{ name = "web"; address = [ "10.2.0.1", "fd02::1" ]; port = 80;
      secret = "{SECRET}"; }} );
      queues = {{ first = 40; count = 2; }};
      limits = {{ {limits} }};"""


@pytest.fixture
def net(lab):
    net = Crossroads(lab)
    net.lab = lab
    for namespace in (net.client, net.other):
        namespace.sysctl("net.ipv4.tcp_timestamps", 0)
    lab.nginx(net.gateway, 80, "hidden page")
    return net


CONNECT = """
import socket, sys
import knock_client as k
address, isn, source, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
plain = socket.socket
def bound(*arguments):
    made = plain(*arguments)
    made.bind((source, 0))
    return made
socket.socket = bound
results = []
while len(results) < count:
    try:
        k.connect(address, 80, isn, 5).close()
        results.append("open")
    except OSError as error:
        results.append(type(error).__name__)
print(*sorted(set(results)), len(results))
"""


def connect(namespace, family, source, count=1, isn=None):
    """What came of count connections with the right token: the different results, and the count."""
    here = Crossroads.GATEWAY[family]
    isn = knock_client.token(KNOCKCTL, SECRET, here, 80) if isn is None else isn
    return namespace.run([PYTHON, "-c", CONNECT, here, isn, source, count],
                         env=ENVIRONMENT).stdout.split()


FLOOD = """
import random, socket, sys
from scapy.all import IP, IPv6, TCP, raw
address, source, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
v6 = ":" in address
chance = random.Random(1)
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for i in range(count):
    if source != "forged":
        own = source
    elif v6:
        own = "2001:db8:%x:%x::1" % (chance.getrandbits(16), chance.getrandbits(16))
    else:
        own = "11.%d.%d.%d" % (chance.getrandbits(8), chance.getrandbits(8), chance.getrandbits(8))
    s.sendto(raw((IPv6 if v6 else IP)(src=own, dst=address) / TCP(
        sport=1024 + i % 60000, dport=80, flags="S", seq=chance.getrandbits(32))), (address, 0))
"""


def flood(net, family, source, count):
    """That many SYNs with wrong tokens, as fast as they can be made."""
    return net.other.start([PYTHON, "-c", FLOOD, Crossroads.GATEWAY[family], source, count])


REFUSED = "ConnectionRefusedError"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_attacker_is_held_and_nobody_else(net, family):
    daemon = Daemon(net.lab, net.gateway,
                    config("max_failures = 20; back_off = 4;")).start()
    own, neighbour = Crossroads.OTHER[family], Crossroads.OTHER_SAME_PREFIX[family]
    apart, client = Crossroads.OTHER_PREFIX[family], Crossroads.CLIENT[family]
    assert connect(net.other, family, own) == ["open", "1"]
    attacker = flood(net, family, own, 2000)
    held, = daemon.wait_event(event="source-held")[:1]
    assert held["prefix"] == ("fd04::/56" if family else "10.4.0.0/24")
    # The whole prefix, right token or not; others all the time, with not one failure.
    assert connect(net.other, family, neighbour) == [REFUSED, "1"]
    connections = 0
    while attacker.poll() is None or connections == 0:
        assert connect(net.client, family, client, 20) == ["open", "20"]
        assert connect(net.other, family, apart, 20) == ["open", "20"]
        connections += 40
    assert attacker.wait() == 0
    assert daemon.events(event="refused", reason="source-held")
    assert {event["prefix"] for event in daemon.events(event="source-held")} == {held["prefix"]}
    wait_until(lambda: connect(net.other, family, own) == ["open", "1"], what="the hold to end")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_forged_sources_lock_nobody_out(net, family):
    """A flood in the name of everybody: the service is told of, all clients come in."""
    daemon = Daemon(net.lab, net.gateway, config(
        "max_failures = 5; back_off = 60; max_service_failures = 50;")).start()
    attacker = flood(net, family, "forged", 3000)
    daemon.wait_event(event="service-attacked", service="web")
    connections = 0
    while attacker.poll() is None or connections == 0:
        assert connect(net.client, family, Crossroads.CLIENT[family], 20) == ["open", "20"]
        assert connect(net.other, family, Crossroads.OTHER[family], 20) == ["open", "20"]
        connections += 40
    assert attacker.wait() == 0
    assert not daemon.events(event="source-held")


def test_by_default_the_attacker_is_only_told_of(net):
    """Else somebody who forges the sources of others could lock them out."""
    daemon = Daemon(net.lab, net.gateway, config("max_failures = 20;")).start()
    attacker = flood(net, 0, "10.4.0.2", 1000)
    told, = daemon.wait_event(event="source-failing")[:1]
    assert told["prefix"] == "10.4.0.0/24" and told["max_failures"] == "20"
    assert connect(net.other, 0, "10.4.0.2", 20) == ["open", "20"]
    assert attacker.wait() == 0
    assert connect(net.other, 0, "10.4.0.3", 20) == ["open", "20"]
    assert not daemon.events(event="refused", reason="source-held")


def test_prefix_lengths_are_configurable(net):
    daemon = Daemon(net.lab, net.gateway, config(
        "max_failures = 20; back_off = 60; ipv4_prefix = 32; ipv6_prefix = 48;")).start()
    for family, prefix in ((0, "10.4.0.2/32"), (1, "fd04::/48")):
        assert flood(net, family, Crossroads.OTHER[family], 200).wait() == 0
        assert daemon.wait_event(event="source-held", prefix=prefix)
    assert connect(net.other, 0, "10.4.0.2") == [REFUSED, "1"]
    assert connect(net.other, 0, "10.4.0.3") == ["open", "1"]
    assert connect(net.other, 1, Crossroads.OTHER_PREFIX[1]) == [REFUSED, "1"]
    assert connect(net.client, 1, Crossroads.CLIENT[1]) == ["open", "1"]
