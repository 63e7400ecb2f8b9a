# SPDX-License-Identifier: GPL-2.0-or-later
"""Egress over a bad network that the kernel itself makes: loss, delay, reordering, duplication and
corruption by netem, both ways, between the egress gateway and the NAT. And what knockgw translates or
sends itself, on its way through fq. The network is TwoGateways in topology.py."""
import json
import time

import pytest

import kernel
from egress_net import Net, counter, echo_server, finish_transfer, get, put_file, start_transfer
from lab import url
from splice_net import IntegrityNet, echo_bulk
from topology import TwoGateways

NETWORKS = {
    "loss": "loss 2%",
    "delay": "delay 30ms 10ms distribution normal",
    "reordering": "delay 10ms reorder 25% 50%",
    "duplication": "duplicate 10%",
    "corruption": "corrupt 5%",
    "everything": "delay 10ms 5ms reorder 20% 50% loss 1% duplicate 2%",
}
# What a receiver counts of what the network did: segments out of order, and such as it had already.
ARRIVED = {"reordering": "TcpExtTCPOFOQueue", "duplication": "TcpExtTCPDSACKOldSent"}
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


def need_qdisc(lab, kind):
    trial = lab.namespace("trial").run(f"tc qdisc add dev lo root {kind}", check=False)
    if "qdisc kind is unknown" in trial.stderr:
        kernel.lacks(f"{kind} (sch_{kind})")
    assert trial.returncode == 0, trial.stderr


@pytest.fixture
def net(lab):
    need_qdisc(lab, "netem")
    return Net(lab)


def spoil(net, network):
    """Packets of the wire's size, both ways."""
    for namespace, device in ((net.egress, "up0"), (net.nat, "in0")):
        namespace.run(["ethtool", "-K", device, "tso", "off", "gso", "off"])
        namespace.run(f"tc qdisc add dev {device} root netem limit 10000 {NETWORKS[network]}")


def netem_packets(namespace, device):
    words = namespace.run(f"tc -s qdisc show dev {device}").stdout.split()
    return int(words[words.index("Sent") + 3])


@FAMILIES
@pytest.mark.parametrize("network", NETWORKS)
def test_bulk_both_ways(net, network, family):
    spoil(net, network)
    path, digest = put_file(net, 4 << 20)
    for direction in ("up", "down"):
        finish_transfer(start_transfer(net, direction, path, family=family), digest)
    assert netem_packets(net.egress, "up0") > 2000 and netem_packets(net.nat, "in0") > 2000
    sent_again = counter(net.laptop, "TcpRetransSegs") + counter(net.server, "TcpRetransSegs")
    assert sent_again > 0 or network in ("delay", "reordering", "duplication")
    for namespace in (net.laptop, net.server):
        assert network not in ARRIVED or counter(namespace, ARRIVED[network]) > 0


def test_handshakes_over_a_bad_network(net):
    """SYNs that are lost, sent again and doubled carry the same token, so every one is answered."""
    for namespace, device in ((net.egress, "up0"), (net.nat, "in0")):
        namespace.run(f"tc qdisc add dev {device} root netem loss 10% duplicate 20% delay 5ms")
    fetched = 0
    while fetched < 12 or counter(net.laptop, "TcpExtTCPSynRetrans") == 0:
        assert fetched < 100
        page = net.laptop.run(["curl", "-sS", "-m", 60, url(TwoGateways.SERVER[fetched % 2])]).stdout
        assert page == "a hidden page"
        fetched += 1
    said = net.statistics()
    assert said["token-written"] == fetched and said["syn-repeated"] > 0


RATE, SIZE = 1000000, 1 << 20  # bytes a second, bytes


@pytest.fixture(params=[Net, IntegrityNet], ids=["authentication", "integrity"])
def fair(request, lab):
    """An echo on port 7000 behind both gateways, authentication or integrity mode."""
    need_qdisc(lab, "fq")
    net = request.param(lab)
    if request.param is Net:
        echo_server(net.server, dual=True)
    return net


def throttled(namespace, device):
    """How often fq made a flow wait. It must not have taken a time that a segment carries for one far ahead."""
    said = json.loads(namespace.run(f"tc -j -s qdisc show dev {device}").stdout)[0]
    assert said["kind"] == "fq" and said.get("horizon_drops", 0) == 0, said
    return said["throttled"]


def paced_echo(client, address, **options):
    """Nothing is lost or changed, and it takes as long as the rate says."""
    started = time.monotonic()
    assert echo_bulk(client, address, SIZE, **options) == "same\n"
    assert time.monotonic() - started > 0.8 * SIZE / RATE


@FAMILIES
def test_what_is_translated_is_paced(fair, family):
    """By each device through which a gateway sends. By one at a time: the next would find them paced."""
    for namespace, device in ((fair.egress, "up0"), (fair.egress, "in0"),
                              (fair.gateway, "in0"), (fair.gateway, "out0")):
        namespace.run(f"tc qdisc add dev {device} root fq maxrate {RATE}bps")
        assert get(fair.laptop, TwoGateways.SERVER[family]) == "a hidden page"
        paced_echo(fair.laptop, TwoGateways.SERVER[family])
        assert throttled(namespace, device) > 0, device
        namespace.run(f"tc qdisc del dev {device} root")


@FAMILIES
def test_a_client_on_the_gateway_paces_itself(fair, family):
    """Its segments carry the time at which they may leave, through the queue of the daemon."""
    fair.egress.run("tc qdisc add dev up0 root fq")
    paced_echo(fair.egress, TwoGateways.SERVER[family], pacing=RATE)
    assert throttled(fair.egress, "up0") > 0
