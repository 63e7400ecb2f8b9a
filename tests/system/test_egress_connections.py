# SPDX-License-Identifier: GPL-2.0-or-later
"""The egress role: the life of connections, from odd handshakes to crashes of the daemon."""
import errno
import os
import signal
import socket
import subprocess

import pytest

import kernel
from egress_net import (ECHO, HOLDER, PING, PROTECT, SECRET, Net, client, counter, echo_server,
                        egress_config, finish_transfer, get, put_file, size_of, start_transfer,
                        stop_capture)
from lab import KNOCKCTL, PYTHON, Daemon, url, wait_until
from topology import Direct

TCP_MD5SIG = 14


@pytest.fixture
def net(lab):
    return Net(lab)


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


def test_stop_right_after_a_start_keeps_the_rules_of_translated_connections(net):
    echo_server(net.server)
    holder = net.laptop.start([PYTHON, "-c", HOLDER.format(
        before="", prepare="", after="print('connected', flush=True); input()\n"
        "s.sendall(b'still here'); print(s.recv(100), flush=True)"), "10.3.0.2", "7000", "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "connected\n"
    assert net.daemon.stop() == 0
    net.daemon.start()
    assert net.daemon.stop() == 0
    assert len(net.daemon.events(event="ruleset-kept")) == 2
    net.daemon.start()
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "b'still here'\n"


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
import select, socket
listener = socket.create_server(('', 7000))
print('ready', flush=True)
peer, _ = listener.accept()
peer.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 0)
data = b''
while len(data) < 3: data += peer.recv(10)
select.select([], [], [peer], 20)
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
    with socket.socket() as probe:
        try:
            probe.setsockopt(socket.SOL_TCP, TCP_MD5SIG, bytes(216))
        except OSError as error:
            # A kernel that has it objects to the empty address instead.
            if error.errno == errno.ENOPROTOOPT:
                kernel.lacks("TCP-MD5 signatures")
    net = Direct(lab)
    net.client.sysctl("net.ipv4.tcp_timestamps", 1)
    daemon = Daemon(lab, net.gateway, egress_config(lab)).start()
    sign = ("import struct\n"
            "def sign(s, peer):\n"
            "    address = struct.pack('H2x4s120x', socket.AF_INET, socket.inet_aton(peer))\n"
            "    s.setsockopt(socket.SOL_TCP, 14, address + struct.pack('xxH4x80s', 4, b'bgp!'))\n")
    server = net.server.start([PYTHON, "-c", ECHO.format(
        prepare=sign + "sign(listener, '10.2.0.2')", options="dict()"), 7000], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
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
    if not os.path.exists("/proc/sys/net/mptcp"):
        kernel.lacks("MPTCP", kernel.DEBIAN_12)
    net.laptop.sysctl("net.mptcp.enabled", 1)
    net.server.sysctl("net.mptcp.enabled", 1)
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
    net.daemon.take_away()
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
    net.protect.take_away()
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
