# SPDX-License-Identifier: GPL-2.0-or-later
"""Egress over a bad network that the kernel itself makes: loss, delay, reordering, duplication and
corruption by netem, both ways, between the egress gateway and the NAT. The network is TwoGateways in
topology.py."""
import pytest

import kernel
from egress_net import Net, counter, finish_transfer, put_file, start_transfer
from lab import url
from topology import TwoGateways

NETWORKS = {
    "loss": "loss 2%",
    "delay": "delay 30ms 10ms distribution normal",
    "reordering": "delay 10ms reorder 25% 50%",
    "duplication": "duplicate 10%",
    "corruption": "corrupt 1%",
    "everything": "delay 10ms 5ms reorder 20% 50% loss 1% duplicate 2%",
}


@pytest.fixture
def net(lab):
    trial = lab.namespace("trial").run("tc qdisc add dev lo root netem delay 1ms", check=False)
    if "qdisc kind is unknown" in trial.stderr:
        kernel.lacks("netem (sch_netem)")
    assert trial.returncode == 0, trial.stderr
    return Net(lab)


def spoil(net, network):
    """Packets of the wire's size, both ways."""
    for namespace, device in ((net.egress, "up0"), (net.nat, "in0")):
        namespace.run(["ethtool", "-K", device, "tso", "off", "gso", "off"])
        namespace.run(f"tc qdisc add dev {device} root netem limit 10000 {NETWORKS[network]}")


def netem_packets(namespace, device):
    words = namespace.run(f"tc -s qdisc show dev {device}").stdout.split()
    return int(words[words.index("Sent") + 3])


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("network", NETWORKS)
def test_bulk_both_ways(net, network, family):
    spoil(net, network)
    path, digest = put_file(net, 4 << 20)
    for direction in ("up", "down"):
        finish_transfer(start_transfer(net, direction, path, family=family), digest)
    assert netem_packets(net.egress, "up0") > 2000 and netem_packets(net.nat, "in0") > 2000
    sent_again = counter(net.laptop, "TcpRetransSegs") + counter(net.server, "TcpRetransSegs")
    assert sent_again > 0 or network in ("delay", "reordering", "duplication")


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
