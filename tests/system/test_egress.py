# SPDX-License-Identifier: GPL-2.0-or-later
"""The egress role: unmodified clients behind one knockgw reach servers behind another."""
import hashlib
import json
import os
import re
import signal
import subprocess

import pytest
from scapy.all import IP, TCP, IPv6, rdpcap

import knock_client
from lab import BUILD, KNOCKCTL, PYTHON, Daemon, wait_until
from topology import Direct, TwoGateways

SECRET = "a secret between two gateways"
PROTECT = f"""services = (
  {{ name = "web"; address = [ "10.3.0.2", "fd03::2" ]; port = [ 80, 7000 ]; secret = "{SECRET}"; }},
  {{ name = "ssh"; address = [ "10.3.0.2", "fd03::2" ]; port = 22; secret = "{SECRET}"; }}
);
queues = {{ first = 40; count = 2; }};
"""


def egress_config(lab, queues=2, more="", on_failure="drop"):
    return f"""egress = (
  {{ name = "branch"; destination = [ "10.3.0.0/24", "fd03::/64" ]; port = [ 22, 80, 7000 ];
    secret = "{SECRET}"; on_failure = "{on_failure}"; }}
);
queues = {{ first = 40; count = {queues}; }};
state_directory = "{lab.folder}/state";
log = {{ level = "debug"; }};
{more}
"""


class Net(TwoGateways):
    """Both gateways with a daemon, and a server."""

    def __init__(self, lab, masquerade=True, **options):
        super().__init__(lab, masquerade)
        self.lab = lab
        lab.nginx(self.server, 80, "a hidden page")
        self.protect = Daemon(lab, self.gateway, PROTECT).start()
        self.daemon = Daemon(lab, self.egress, egress_config(lab, **options)).start()

    def statistics(self):
        """Packets by reason, as the egress daemon counts them."""
        seen = len(self.daemon.events(event="statistics"))
        self.daemon.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: any("flows" in event for event in
                               self.daemon.events(event="statistics")[seen:]),
                   what="the statistics")
        return {event.get("reason", "flows"): int(event.get("packets", event.get("flows")))
                for event in self.daemon.events(event="statistics")[seen:]}

    def flows(self):
        said = self.egress.run([KNOCKCTL, "flows", "--json", "--state-directory",
                                self.lab.folder / "state"]).stdout
        return [json.loads(line) for line in said.splitlines()]


@pytest.fixture
def net(lab):
    return Net(lab)


def url(address, path=""):
    return f"http://[{address}]/{path}" if ":" in address else f"http://{address}/{path}"


def get(namespace, address):
    return namespace.run(["curl", "-sS", "-m", "20", url(address)], check=False).stdout


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
    said = subprocess.run([KNOCKCTL, "token", "--address", address, "--port", str(port), "--tsval",
                           f"{tsval:08x}"], env={**os.environ, "KNOCK_SECRET": SECRET}, check=True,
                          capture_output=True, text=True).stdout
    return int(said, 16)


def stop_capture(capture):
    capture.terminate()
    capture.wait()
    return rdpcap(str(capture.capture_path))


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


def put_file(net, size):
    """Random bytes on laptop and server, and their digest."""
    data = os.urandom(1 << 20) * (size >> 20)
    path = net.lab.folder / "bulk"
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def start_transfer(net, direction, path, port=7000, family=0):
    """A bulk transfer by plain nc; the received bytes land in a file. Returns (process, file)."""
    received = net.lab.folder / f"received-{direction}"
    server = TwoGateways.SERVER[family]
    inner = "nc -N -l" if not family else "nc -6 -N -l"
    if direction == "up":
        listen = f"{inner} {port} > {received}"
        connect = f"nc -N {server} {port} < {path}"
    else:
        listen = f"{inner} {port} < {path}"
        connect = f"nc {server} {port} < /dev/null > {received}"
    listener = net.server.start(["sh", "-c", f"exec {listen}"])
    wait_until(lambda: net.server.listens(port), what="nc listening")
    client = net.laptop.start(["sh", "-c", f"exec {connect}"])
    return client, listener, received


def finish_transfer(transfer, digest, timeout=150):
    client, listener, received = transfer
    assert client.wait(timeout=timeout) == 0
    assert listener.wait(timeout=timeout) == 0
    assert hashlib.sha256(received.read_bytes()).hexdigest() == digest


def size_of(transfer):
    received = transfer[2]
    return received.stat().st_size if received.exists() else 0


@pytest.mark.parametrize("direction", ["up", "down"])
def test_transfer_survives_kill(net, direction):
    size = 500 << 20
    path, digest = put_file(net, size)
    transfer = start_transfer(net, direction, path)
    wait_until(lambda: size_of(transfer) > size // 10, what="a tenth of the transfer")
    net.daemon.kill()
    at_kill = size_of(transfer)
    assert at_kill < size
    net.daemon.start()
    finish_transfer(transfer, digest)
    assert net.daemon.events(event="state-opened")[-1]["flows"] == "1"


def test_transfer_survives_stop_and_another_number_of_workers(net):
    size = 200 << 20
    path, digest = put_file(net, size)
    transfer = start_transfer(net, "up", path)
    wait_until(lambda: size_of(transfer) > size // 10, what="a tenth of the transfer")
    assert net.daemon.stop() == 0
    assert size_of(transfer) < size
    Daemon(net.lab, net.egress, egress_config(net.lab, queues=3)).start()
    finish_transfer(transfer, digest)


def mangle(net, drop, reorder, duplicate):
    """Spoils the traffic that the NAT forwards, in packets of 1000."""
    for device in ("in0", "up0"):
        net.nat.run(["ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off"])
    net.egress.run(["ethtool", "-K", "up0", "tso", "off", "gso", "off"])
    net.gateway.run(["ethtool", "-K", "out0", "tso", "off", "gso", "off"])
    process = net.nat.start([BUILD / "tests/system/mangle", 7, drop, reorder, duplicate, 100],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "ready\n"
    for tables in ("iptables", "ip6tables"):
        net.nat.run([tables, "-A", "FORWARD", "-p", "tcp", "-j", "NFQUEUE", "--queue-num", "7"])
    return process


def counter(namespace, name):
    said = namespace.run(["nstat", "-asz", name]).stdout
    return int(re.search(rf"{name}\s+(\d+)", said).group(1))


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
    process.terminate()
    did = dict(word.split("=") for word in process.stdout.read().split())
    assert int(did["dropped"]) > 50 and int(did["reordered"]) > 50 and int(did["duplicated"]) > 50


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


HOLDER = """
import socket, sys, time
address, port, source_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
{before}
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.settimeout(20)
if source_port:
    s.bind(('', source_port))
{prepare}
s.connect((address, port))
{after}
"""

ECHO = """
import socket, sys, threading
listener = socket.create_server(('', int(sys.argv[1])), reuse_port=False)
{prepare}
print('ready', flush=True)
def serve(peer):
    try:
        while data := peer.recv(65536):
            peer.sendall(data)
    except OSError as error:
        print(type(error).__name__, flush=True)
    peer.close()
    print('closed', flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def echo_server(namespace, port=7000, prepare=""):
    server = namespace.start([PYTHON, "-c", ECHO.format(prepare=prepare), port],
                             stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    return server


def client(namespace, address, after, before="", prepare="", port=7000, source_port=0):
    code = HOLDER.format(before=before, prepare=prepare, after=after)
    return namespace.run([PYTHON, "-c", code, address, port, source_port]).stdout


PING = "s.sendall(b'ping'); assert s.recv(4) == b'ping'; print('pong')"


@pytest.mark.parametrize("isn", [0xffffff00, 1, 0x7fffffff])
def test_client_numbers_that_wrap_around(net, isn):
    """The client's numbers pass 2^32 at another moment than those on the wire."""
    echo_server(net.server)
    repair = (f"R = socket.SOL_TCP\ns.setsockopt(R, 19, 1); s.setsockopt(R, 20, 2)\n"
              f"import struct; s.setsockopt(R, 21, struct.pack('I', {isn})); s.setsockopt(R, 19, -1)")
    transfer = ("import threading\ndata = bytes(range(256)) * 4096\n"
                "threading.Thread(target=lambda: s.sendall(data)).start()\n"
                "got = b''\nwhile len(got) < len(data): got += s.recv(65536)\n"
                "assert got == data; print('all of it')")
    assert client(net.laptop, "10.3.0.2", transfer, prepare=repair) == "all of it\n"
    assert [int(flow["isn"], 16) for flow in net.flows()] == [isn]


def test_wire_numbers_that_wrap_around(net):
    """A secret whose token for a SYN without timestamp is just below 2^32."""
    net.laptop.sysctl("net.ipv4.tcp_timestamps", 0)
    secrets = [f"{number:016x}" for number in range(1, 400000)]
    lines = "".join(f"4\t10.3.0.2\t7000\t00000000\t{secret}\t\n" for secret in secrets)
    said = subprocess.run([KNOCKCTL, "token", "--batch"], input=lines, check=True,
                          capture_output=True, text=True).stdout.split()
    token, secret = max(zip(said, secrets))
    assert int(token, 16) > 0xffffffff - 100000
    for daemon, config in ((net.protect, PROTECT), (net.daemon, egress_config(net.lab))):
        daemon.stop()
        Daemon(net.lab, daemon.namespace, config.replace(SECRET, "h:" + secret)).start()
    path, digest = put_file(net, 2 << 20)
    finish_transfer(start_transfer(net, "up", path), digest)
    finish_transfer(start_transfer(net, "down", path), digest)
    assert token in [flow["token"] for flow in net.flows()]


def test_half_close_and_simultaneous_close(net):
    echo_server(net.server)
    half = ("s.sendall(b'data'); s.shutdown(socket.SHUT_WR)\n"
            "got = b''\nwhile part := s.recv(100): got += part\nprint(got)")
    assert client(net.laptop, "10.3.0.2", half) == "b'data'\n"
    # Both sides close while their segments are held up on the way, so both FINs cross.
    net.server.run("pkill -f listener")
    crossing = net.server.start([PYTHON, "-c", """
import socket
listener = socket.create_server(('', 7000))
print('ready', flush=True)
peer, _ = listener.accept()
peer.recv(2)
print('holding', flush=True)
input()
peer.close()
print('closed', flush=True)
"""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crossing.stdout.readline() == "ready\n"
    holder = net.laptop.start([PYTHON, "-c", HOLDER.format(
        before="", prepare="", after="s.sendall(b'go'); input(); s.close(); print('closed')"),
        "10.3.0.2", "7000", "5555"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crossing.stdout.readline() == "holding\n"
    wait_until(lambda: counter(net.laptop, "TcpInSegs") > 0)
    net.nat.nft("table inet hold { chain f { type filter hook forward priority 0; drop; }; }")
    for process in (holder, crossing):
        process.stdin.write("\n")
        process.stdin.flush()
    assert crossing.stdout.readline() == "closed\n"
    net.nat.run("nft delete table inet hold")
    wait_until(lambda: "5555" not in net.laptop.run(["ss", "-Hnt", "state", "connected", "exclude",
                                                    "time-wait"]).stdout, what="the end")
    ours = [flow for flow in net.flows() if flow["client_port"] == 5555]
    assert [flow["state"] for flow in ours] == ["time-wait"]


@pytest.mark.parametrize("first_to_close", ["client", "server"])
def test_same_tuple_again(net, first_to_close):
    """TIME_WAIT on either side, then a new SYN from the same port."""
    net.laptop.sysctl("net.ipv4.tcp_tw_reuse", 1)
    if first_to_close == "client":
        echo_server(net.server)
        after = PING + "; s.close()"
    else:
        server = net.server.start([PYTHON, "-c", """
import socket
listener = socket.create_server(('', 7000))
print('ready', flush=True)
while True:
    peer, _ = listener.accept()
    peer.sendall(peer.recv(4))
    peer.close()
"""], stdout=subprocess.PIPE, text=True)
        assert server.stdout.readline() == "ready\n"
        after = PING + "; assert s.recv(1) == b''"
    # A socket that was in TIME_WAIT may be taken again after a second.
    again = f"""
import time
def attempt():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.settimeout(20)
    s.bind(('', 5556))
    s.connect((address, port))
    {after}
    s.close()
for round in range(3):
    end = time.monotonic() + 20
    while True:
        try: attempt(); break
        except OSError as error:
            if error.errno != 99 or time.monotonic() > end: raise
            time.sleep(0.1)
sys.exit()
"""
    code = HOLDER.format(before=again, prepare="", after="")
    said = net.laptop.run([PYTHON, "-c", code, "10.3.0.2", 7000, 0]).stdout
    assert said == "pong\n" * 3
    assert len([flow for flow in net.flows() if flow["client_port"] == 5556]) == 1
    assert net.statistics()["token-written"] == 3


def test_client_that_lost_its_connection_gets_a_challenge_ack(net):
    """The client forgets a connection that the server still has, and connects from the same port:
    the server's challenge ACK is about the old numbers, and so is the RST that it gets."""
    server = echo_server(net.server)
    forget = PING + "\ns.setsockopt(socket.SOL_TCP, 19, 1); s.close()"
    assert client(net.laptop, "10.3.0.2", forget, source_port=5557) == "pong\n"
    before = counter(net.server, "TcpExtTCPChallengeACK") + counter(net.server,
                                                                    "TcpExtTCPSYNChallenge")
    assert client(net.laptop, "10.3.0.2", PING, source_port=5557) == "pong\n"
    assert counter(net.server, "TcpExtTCPChallengeACK") + \
        counter(net.server, "TcpExtTCPSYNChallenge") > before
    assert server.stdout.readline() == "ConnectionResetError\n"


def test_keep_alives(net):
    echo_server(net.server)
    keep = ("s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)\n"
            "for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):\n"
            "    s.setsockopt(socket.SOL_TCP, option, 1)\n"
            "s.setsockopt(socket.SOL_TCP, socket.TCP_KEEPCNT, 2)")
    holder = net.laptop.start([PYTHON, "-c", HOLDER.format(
        before="", prepare=keep, after=PING + "; sys.stdout.flush(); input(); " + PING),
        "10.3.0.2", "7000", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "pong\n"
    wait_until(lambda: counter(net.laptop, "TcpExtTCPKeepAlive") >= 4, what="four keep-alives")
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "pong\n"


def test_reset_reaches_the_other_side(net):
    server = echo_server(net.server)
    linger = "s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\\1\\0\\0\\0\\0\\0\\0\\0')\n"
    assert client(net.laptop, "10.3.0.2", linger + PING + "; s.close()") == "pong\n"
    assert server.stdout.readline() == "ConnectionResetError\n"
    assert [flow["state"] for flow in net.flows()] == ["closed"]
    net.server.run("pkill -f listener")
    refused = net.laptop.run(["curl", "-sS", "-m", "5", "http://10.3.0.2:7000/"], check=False)
    assert refused.returncode == 7


def test_urgent_data(net):
    server = net.server.start([PYTHON, "-c", """
import socket
listener = socket.create_server(('', 7000))
print('ready', flush=True)
peer, _ = listener.accept()
peer.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 0)
data = b''
while len(data) < 3: data += peer.recv(10)
urgent = peer.recv(1, socket.MSG_OOB)
while len(data) < 6: data += peer.recv(10)
print(data, urgent, flush=True)
"""], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    client(net.laptop, "10.3.0.2", "s.sendall(b'abc'); s.send(b'!', socket.MSG_OOB); "
           "s.sendall(b'def'); s.recv(1)")
    assert server.stdout.readline() == "b'abcdef' b'!'\n"


def test_fast_open(net):
    """Data in the SYN reaches the application; the first connection fetches the cookie."""
    for namespace in (net.laptop, net.server):
        namespace.sysctl("net.ipv4.tcp_fastopen", 3)
    echo_server(net.server, prepare="listener.setsockopt(socket.SOL_TCP, socket.TCP_FASTOPEN, 16)")
    code = ("import socket\nfor i in range(3):\n    s = socket.socket()\n"
            "    s.sendto(b'early', socket.MSG_FASTOPEN, ('10.3.0.2', 7000))\n"
            "    assert s.recv(5) == b'early'\n    s.close()\nprint('fine')")
    assert net.laptop.run([PYTHON, "-c", code]).stdout == "fine\n"
    assert counter(net.server, "TcpExtTCPFastOpenPassive") >= 2
    assert counter(net.laptop, "TcpExtTCPFastOpenActive") >= 2


def test_signed_segments_pass_untouched(lab):
    """TCP-MD5 covers the sequence numbers, so nobody may change them: no NAT, no hidden server."""
    net = Direct(lab)
    net.client.sysctl("net.ipv4.tcp_timestamps", 1)
    daemon = Daemon(lab, net.gateway, egress_config(lab)).start()
    sign = ("import struct\n"
            "def sign(s, peer):\n"
            "    address = struct.pack('H2x4s120x', socket.AF_INET, socket.inet_aton(peer))\n"
            "    s.setsockopt(socket.SOL_TCP, 14, address + struct.pack('xxH4x80s', 4, b'bgp!'))\n")
    server = net.server.start([PYTHON, "-c", ECHO.format(
        prepare=sign + "sign(listener, '10.2.0.2')"), 7000], stdout=subprocess.PIPE, text=True)
    said = server.stdout.readline()
    if said != "ready\n":
        pytest.skip("this kernel has no TCP-MD5 signatures")
    for _ in range(2):
        assert client(net.client, "10.3.0.2", PING, before=sign, prepare="sign(s, address)") == \
            "pong\n"
    warning, = daemon.events(event="untranslated")
    assert warning["reason"] == "signed-segment" and warning["level"] == "warning"
    daemon.process.send_signal(signal.SIGUSR1)
    counted, = daemon.wait_event(event="statistics", reason="signed-segment")
    assert int(counted["packets"]) > 10


def test_multipath(net):
    """MP_CAPABLE and MP_JOIN: a second subflow from a second address of the client."""
    try:
        net.laptop.sysctl("net.mptcp.enabled", 1)
        net.server.sysctl("net.mptcp.enabled", 1)
    except AssertionError:
        pytest.skip("this kernel has no MPTCP")
    net.laptop.address("up0", "10.0.0.3/24")
    net.laptop.run("ip mptcp limits set subflow 2 add_addr_accepted 2")
    net.server.run("ip mptcp limits set subflow 2 add_addr_accepted 2")
    net.laptop.run("ip mptcp endpoint add 10.0.0.3 dev up0 subflow")
    server = net.server.start([PYTHON, "-c", """
import socket
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
listener.bind(('', 7000)); listener.listen()
print('ready', flush=True)
peer, _ = listener.accept()
while data := peer.recv(65536): peer.sendall(data)
"""], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    code = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.settimeout(20)
s.connect(('10.3.0.2', 7000))
for i in range(2000):
    s.sendall(b'x' * 1000)
    left = 1000
    while left: left -= len(s.recv(left))
print('fine', flush=True)
input()
"""
    process = net.laptop.start([PYTHON, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout.readline() == "fine\n"
    assert counter(net.server, "MPTcpExtMPCapableSYNRX") == 1
    wait_until(lambda: counter(net.server, "MPTcpExtMPJoinAckRx") == 1, what="the second subflow")
    assert len(net.flows()) == 2


def test_full_table_refuses_new_connections_only(lab):
    net = Net(lab, queues=1, more="max_flows = 3;")
    echo_server(net.server)
    holders = []
    for _ in range(3):
        holder = net.laptop.start([PYTHON, "-c", HOLDER.format(
            before="", prepare="", after=PING + "; sys.stdout.flush(); input(); " + PING),
            "10.3.0.2", "7000", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "pong\n"
        holders.append(holder)
    refused = net.laptop.run(["curl", "-sS", "-m", "3", url("10.3.0.2")], check=False)
    assert refused.returncode == 28
    event = net.daemon.wait_event(event="refused")[0]
    assert event["reason"] == "table-full" and event["level"] == "warning"
    assert net.statistics()["table-full"] >= 1
    for holder in holders:
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "pong\n"


@pytest.mark.parametrize("damage", ["foreign", "flipped", "short", "empty"])
def test_state_file_that_cannot_be_used(lab, damage):
    net = Net(lab, queues=1)
    assert get(net.laptop, "10.3.0.2") == "a hidden page"
    net.daemon.kill()
    path = lab.folder / "state/flows-0"
    content = bytearray(path.read_bytes())
    if damage == "foreign":
        content[:8] = b"\x7fELF\0\0\0\0"
    elif damage == "flipped":
        # Somewhere in the tuple of the only flow.
        content[bytes(content).index(bytes([10, 3, 0, 2]) + bytes(12)) + 1] ^= 1
    path.write_bytes({"short": content[:-4096], "empty": b""}.get(damage, content))
    net.daemon.start()
    event = net.daemon.wait_event(event="state-refused")[0]
    assert event["file"] == str(path) and event["reason"]
    assert (lab.folder / "state/flows-0.refused").exists()
    assert net.daemon.events(event="state-opened")[-1]["flows"] == "0"
    assert get(net.laptop, "10.3.0.2") == "a hidden page"
    assert (lab.folder / "state").stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600


def test_state_directory_that_cannot_be_used(lab):
    net = Net(lab)
    config = egress_config(lab).replace(f"{lab.folder}/state", "/proc/state")
    net.daemon.stop()
    broken = Daemon(lab, net.egress, config).start(wait=False)
    assert broken.process.wait(timeout=20) == 1
    assert "state_directory /proc/state cannot be made: " in broken.log()
    # Nothing was changed on the way.
    assert "knockgw" not in net.egress.run("nft list tables").stdout


def test_daemon_away_drops_new_connections(net):
    wire = net.lab.capture(net.nat, "in0", "tcp[tcpflags] & tcp-syn != 0")
    net.daemon.kill()
    assert net.laptop.run(["curl", "-sS", "-m", "3", url("10.3.0.2")], check=False).returncode == 28
    assert len(stop_capture(wire)) == 0


def test_daemon_away_passes_new_connections_if_told_to(lab):
    net = Net(lab, on_failure="pass")
    net.protect.stop()
    echo_server(net.server)
    net.daemon.kill()
    holder = net.laptop.start([PYTHON, "-c", HOLDER.format(
        before="", prepare="", after=PING + "; sys.stdout.flush(); input(); " + PING),
        "10.3.0.2", "7000", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "pong\n"
    # It goes on when the daemon is back, which leaves it alone.
    net.daemon.start()
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "pong\n"
    assert net.statistics()["flow-unknown"] > 0
    assert net.flows() == []


def test_translated_connection_waits_even_if_new_ones_pass(lab):
    net = Net(lab, on_failure="pass")
    path, digest = put_file(net, 100 << 20)
    transfer = start_transfer(net, "up", path)
    wait_until(lambda: size_of(transfer) > 10 << 20, what="a tenth of the transfer")
    net.daemon.kill()
    wait_until(lambda: counter(net.laptop, "TcpExtTCPTimeouts") > 0, what="a retransmission")
    net.daemon.start()
    finish_transfer(transfer, digest)
