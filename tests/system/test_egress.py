# SPDX-License-Identifier: GPL-2.0-or-later
"""The egress role: unmodified programs behind one knockgw reach servers behind another; what is on
the wire; bulk data over good and bad networks."""
import json
import subprocess

import pytest
from scapy.all import IP, TCP, IPv6, rdpcap

import knock_client
from egress_net import (SECRET, Net, counter, finish_transfer, get, mangle, mangled, put_file,
                        start_transfer, stop_capture)
from lab import KNOCKCTL, PYTHON, Daemon, url, wait_until
from topology import TwoGateways


@pytest.fixture
def net(lab):
    return Net(lab)


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("masquerade", [True, False], ids=["masquerade", "routed"])
def test_unmodified_programs_reach_hidden_servers(lab, masquerade, family):
    net = Net(lab, masquerade)
    ssh = lab.sshd(net.server, 22)
    server = TwoGateways.SERVER[family]
    for client in (net.laptop, net.egress):
        assert get(client, server) == "a hidden page"
        said = client.run(["ssh", *ssh, f"root@{server}", "echo $SSH_CONNECTION"]).stdout
        assert server in said
    # A client that does not stand behind the egress gateway sees nothing.
    assert net.nat.run(["curl", "-sS", "-m", "5", url(server)], check=False).returncode == 7
    statistics = net.statistics()
    assert statistics["token-written"] == 4
    assert "flow-unknown" not in statistics


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_many_streams_both_ways(net, family):
    net.server.start(["iperf3", "-s", "-p", 7000], stdout=subprocess.DEVNULL,
                     stderr=subprocess.DEVNULL)
    wait_until(lambda: net.server.listens(7000), what="iperf3")
    said = net.laptop.run(["iperf3", "-J", "-c", TwoGateways.SERVER[family], "-p", 7000, "--bidir",
                           "-P", 8, "-t", 2]).stdout
    streams = json.loads(said)["end"]["streams"]
    assert len(streams) == 16
    assert all(stream["receiver"]["bytes"] > 0 for stream in streams)


def token_for(packet, address, port):
    """What knockctl says that the ISN of this SYN must be."""
    tsval = dict(packet[TCP].options).get("Timestamp", (0, 0))[0]
    return knock_client.token(KNOCKCTL, SECRET, address, port, tsval=tsval)


def is_syn(packet):
    return TCP in packet and int(packet[TCP].flags) & 0x17 == 2


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_only_the_sequence_number_of_a_syn_changes(lab, family):
    net = Net(lab, masquerade=False)
    inside = lab.capture(net.laptop, "up0")
    wire = lab.capture(net.nat, "in0")
    server = TwoGateways.SERVER[family]
    assert get(net.laptop, server) == "a hidden page"
    before, = filter(is_syn, stop_capture(inside))
    after, = filter(is_syn, stop_capture(wire))
    assert after[TCP].seq == token_for(after, server, 80) != before[TCP].seq
    ip = IPv6 if family else IP
    before, after = before[ip], after[ip]
    # The hop changes the hop limit; with the number change the checksums.
    for packet in (before, after):
        packet[TCP].seq = 0
        packet[TCP].chksum = 0
        if family:
            packet.hlim = 0
        else:
            packet.ttl = packet.chksum = 0
    assert bytes(before) == bytes(after)


def send_syns(net, source_port, timestamps, wire):
    """Sends copies of a SYN, each with another TSval, the last one without other options. As real
    retransmissions do, each waits until the one before has left."""
    code = """
import sys
from scapy.all import *
conf.verb = 0
s = L3RawSocket(iface='up0')
for number, line in enumerate(sys.stdin):
    options = eval(line)
    s.send(IP(src='10.0.0.2', dst='10.3.0.2', id=number) /
           TCP(sport=int(sys.argv[1]), dport=80, flags='S', seq=0xfffffff0, window=64240,
               options=options))
"""
    sender = net.laptop.start([PYTHON, "-c", code, source_port], stdin=subprocess.PIPE, text=True)
    usual = [("MSS", 1460), ("SAckOK", b""), ("NOP", None), ("WScale", 7)]
    for number, tsval in enumerate(timestamps, 1):
        options = usual if number < len(timestamps) else []
        options = options + ([("Timestamp", (tsval, 0))] if tsval is not None else [])
        sender.stdin.write(f"{options}\n")
        sender.stdin.flush()
        wait_until(lambda number=number: len(rdpcap(str(wire.capture_path))) >= number,
                   what=f"SYN number {number} on the wire")


@pytest.mark.parametrize("timestamps", [[100, 200, 300], [100, 200, None], [None, None, 300]],
                         ids=["all", "dropped", "late"])
def test_retransmitted_syns_carry_the_same_token_and_timestamp(net, timestamps):
    net.laptop.nft("""table inet quiet { chain out { type filter hook output priority 0;
                      tcp flags & rst == rst drop; }; }""")
    wire = net.lab.capture(net.nat, "in0", "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn")
    send_syns(net, 4242, timestamps, wire)
    syns = stop_capture(wire)
    first = dict(syns[0][TCP].options).get("Timestamp")
    assert (first or (None, 0))[0] == timestamps[0]
    for syn in syns:
        assert syn[TCP].seq == token_for(syn, "10.3.0.2", 80)
        assert dict(syn[TCP].options).get("Timestamp") == first
        copy = syn[IP].copy()
        del copy[TCP].chksum, copy.chksum
        copy = IP(bytes(copy))
        assert (copy.chksum, copy[TCP].chksum) == (syn[IP].chksum, syn[TCP].chksum)
    assert net.statistics()["syn-repeated"] == 2
    assert len(net.flows()) == 1


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_bulk_over_a_bad_network(net, direction, family):
    path, digest = put_file(net, 20 << 20)
    process = mangle(net, 10, 20, 20)
    transfer = start_transfer(net, direction, path, family=family)
    finish_transfer(transfer, digest)
    sender = net.laptop if direction == "up" else net.server
    assert counter(sender, "TcpExtTCPSackRecovery") > 0
    assert counter(sender, "TcpExtTCPLostRetransmit") >= 0
    did = mangled(process)
    assert did["dropped"] > 50 and did["reordered"] > 50 and did["duplicated"] > 50


def bulk_both_ways(net, size=20 << 20, family=0):
    path, digest = put_file(net, size)
    for port, direction in ((7000, "up"), (7000, "down")):
        finish_transfer(start_transfer(net, direction, path, port, family), digest)


@pytest.mark.parametrize("offload", ["on", "off"])
def test_offloads(net, offload):
    for namespace, devices in ((net.laptop, ["up0"]), (net.egress, ["in0", "up0"]),
                               (net.nat, ["in0", "up0"]), (net.gateway, ["in0", "out0"]),
                               (net.server, ["up0"])):
        for device in devices:
            namespace.run(["ethtool", "-K", device, "tx", offload, "tso", offload, "gso", offload,
                           "gro", offload])
    for family in (0, 1):
        bulk_both_ways(net, family=family)
    # Local clients: what comes in goes to a socket of this host.
    received = net.egress.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{size_download}",
                               url(TwoGateways.SERVER[0], "big")]).stdout
    assert received == "100000000"
    assert counter(net.egress, "TcpInCsumErrors") == 0
    assert counter(net.server, "TcpInCsumErrors") == 0
    assert counter(net.laptop, "TcpInCsumErrors") == 0


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_path_mtu_discovery_towards_the_server(net, family):
    """The link behind the NAT takes 1280 bytes; only ICMP errors from there tell the client."""
    net.nat.run("ip link set up0 mtu 1280")
    net.gateway.run("ip link set out0 mtu 1280")
    path, digest = put_file(net, 4 << 20)
    transfer = start_transfer(net, "up", path, family=family)
    finish_transfer(transfer, digest, timeout=60)
    assert net.statistics()["quote-translated"] > 0
    route = net.laptop.run(["ip", "route", "get", TwoGateways.SERVER[family]]).stdout
    assert "mtu 1280" in route


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_path_mtu_discovery_towards_the_client(net, family):
    net.egress.run("ip link set in0 mtu 1280")
    path, digest = put_file(net, 4 << 20)
    transfer = start_transfer(net, "down", path, family=family)
    finish_transfer(transfer, digest, timeout=60)
    assert net.statistics()["quote-translated"] > 0
    # The server sees the client where the protect gateway's side of the NAT shows it.
    route = net.server.run(["ip", "route", "get", ("10.2.0.2", "fd02::2")[family]]).stdout
    assert "mtu 1280" in route


def test_path_mtu_discovery_needs_the_translation(net):
    """The test above can fail: with the quotes left as they are, the client ignores the errors."""
    net.egress.nft("""table inet spoil { chain in { type filter hook prerouting priority -310;
                      icmp type destination-unreachable notrack accept; };
                      chain late { type filter hook prerouting priority -290;
                      icmp type destination-unreachable drop; }; }""")
    net.nat.run("ip link set up0 mtu 1280")
    net.gateway.run("ip link set out0 mtu 1280")
    path, _ = put_file(net, 4 << 20)
    transfer = start_transfer(net, "up", path)
    wait_until(lambda: counter(net.laptop, "TcpRetransSegs") > 3, what="retransmissions in vain")
    assert "mtu" not in net.laptop.run(["ip", "route", "get", "10.3.0.2"]).stdout
    transfer[0].kill()


def test_both_roles_on_both_gateways(lab):
    """Each side hides its own servers and reaches those of the other side."""
    net = TwoGateways(lab, masquerade=False)
    net.gateway.run("ip -4 route add 10.0.0.0/24 via 10.2.0.2")
    net.gateway.run("ip -6 route add fd00::/64 via fd02::2")
    lab.nginx(net.server, 80, "page of the server")
    lab.nginx(net.laptop, 80, "page of the laptop")
    sides = {net.egress: ('"10.0.0.2", "fd00::2"', '"10.3.0.2", "fd03::2"'),
             net.gateway: ('"10.3.0.2", "fd03::2"', '"10.0.0.2", "fd00::2"')}
    for namespace, (own, other) in sides.items():
        Daemon(lab, namespace, f"""
            services = ( {{ name = "own"; address = [ {own} ]; port = 80; secret = "{SECRET}"; }} );
            egress = ( {{ name = "other"; destination = [ {other} ]; port = 80;
                          secret = "{SECRET}"; on_failure = "pass"; }} );
            queues = {{ first = 40; count = 2; }};
            state_directory = "{lab.folder}/state-{namespace.name}";""").start()
    for family in (0, 1):
        server, laptop = TwoGateways.SERVER[family], TwoGateways.LAPTOP[family]
        for _ in range(3):
            assert get(net.laptop, server) == "page of the server"
            assert get(net.server, laptop) == "page of the laptop"
        for target in (server, laptop):
            assert net.nat.run(["curl", "-sS", "-m", "5", url(target)], check=False).returncode == 7
