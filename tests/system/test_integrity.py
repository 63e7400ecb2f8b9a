# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode of the protect role: no byte reaches the application before the first N are
checked. Segment by segment, with a client that does what no kernel would.

The network is that of topology.Direct: client, gateway with knockgw, server."""
import os
import subprocess

import pytest

import integrity_net
import kernel
import knock_client
from integrity_net import (DEAD, FAMILIES, N, PORT, RIGHT, SECRET, THANKS, WRONG, IntegrityNet,
                           expect_open)
from lab import KNOCKCTL, PYTHON, SOURCE, wait_until
from topology import Direct

CONFIG = f"""services = (
  {{ name = "app"; address = [ "10.3.0.2", "fd03::2" ]; port = {PORT}; secret = "{SECRET}";
    integrity = {N}; }},
  {{ name = "front"; address = [ "10.2.0.10", "fd02::10" ]; port = {PORT}; secret = "{SECRET}";
    integrity = {N}; backends = ( {{ address = "10.3.0.2"; }}, {{ address = "fd03::2"; }} ); }},
  {{ name = "ssh"; address = "10.3.0.2"; port = 22; secret = "{SECRET}"; integrity = 8; }}
);
queues = {{ first = 40; count = 2; }};
log = {{ level = "debug"; }};
"""


SERVICES = pytest.mark.parametrize("reassemble", ["", "reassemble = true;"],
                                   ids=["one segment", "reassemble"])


@pytest.fixture
def net(lab):
    return IntegrityNet(lab, CONFIG)


@FAMILIES
@pytest.mark.parametrize("front", [False, True], ids=["routed", "backend"])
@pytest.mark.parametrize("length", [N, len(RIGHT)], ids=["exact", "longer"])
def test_right_payload_opens(net, front, length, family):
    address = (Direct.FRONT if front else Direct.SERVER)[family]
    said = net.raw(f"c.connect()\nc.send('PA', 1, RIGHT[:{length}])" + THANKS, family,
                   address=address)
    expect_open(net, said, RIGHT[:length])
    assert net.daemon.events(event="verified", reason="payload-valid", key="1")


@FAMILIES
@pytest.mark.parametrize("payload,reason", [(WRONG, "payload-wrong"), (RIGHT[:N - 1], "payload-short"),
                                            (bytes([RIGHT[0] ^ 1]) + RIGHT[1:], "payload-wrong")],
                         ids=["changed", "short", "one bit"])
def test_wrong_payload_ends_it_on_both_sides(net, payload, reason, family):
    said = net.raw(f"c.connect()\nc.send('PA', 1, {payload!r})" + DEAD +
                   "\nc.send('PA', 1, RIGHT)\nprint(c.wait('PA', 1))", family)
    # The right bytes afterwards do not bring it back.
    assert said == "reset\nNone\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", reason=reason)
    assert net.sockets() == ""
    assert "mark=536870912" not in net.tracked(net.next_port)


def test_wrong_syn_meets_a_closed_port(net):
    assert net.raw("c.isn ^= 1 << 20\nc.send('S')" + DEAD) == "reset\n"
    # The low half is the hash of the payload, and the high half covers it.
    assert net.raw("c.isn ^= 1\nc.send('S')" + DEAD) == "reset\n"
    # The token for other bytes than those that follow.
    assert net.raw("c.connect()\nc.send('PA', 1, RIGHT)" + DEAD, payload=WRONG) == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()


@FAMILIES
def test_data_out_of_order_waits(net, family):
    script = ("c.connect()\nc.send('PA', 1 + N, RIGHT[N:])\nc.send('A', 1 + N)\n"
              "assert c.wait('P', 1) is None\nc.send('PA', 1, RIGHT[:N])\nc.wait('P')\n"
              "c.send('PA', 1 + N, RIGHT[N:])" + THANKS)
    expect_open(net, net.raw(script, family))
    assert net.daemon.events(event="dropped", reason="payload-out-of-order")


def test_overlapping_data_before_the_check_waits(net):
    """Bytes that begin before or inside the checked range cannot slip in first."""
    script = ("c.connect()\nfor offset in (0, 2, N):\n    c.send('PA', offset, WRONG[offset:])\n"
              "assert c.wait('P', 1) is None\nc.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script))


def test_wrong_checksum_is_not_judged(net):
    script = ("c.connect()\nc.send('PA', 1, RIGHT, wrong_checksum=True)\n"
              "c.send('PA', 1, WRONG, wrong_checksum=True)\nassert c.wait('R', 1) is None\n"
              "c.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script))


def test_retransmitted_segments(net):
    script = ("c.send('S')\nc.wait('SA')\nc.connect()\n"
              "for i in range(3): c.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script))


def test_data_on_the_third_segment(net):
    script = ("c.send('S')\nc.peer = c.wait('SA').seq + 1\nc.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script))


def test_fin_with_the_first_data(net):
    script = "c.connect()\nc.send('FPA', 1, RIGHT)" + THANKS
    expect_open(net, net.raw(script))
    assert net.seen() == "end"
    assert net.raw("c.connect()\nc.send('FPA', 1, WRONG)" + DEAD) == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()


def test_fin_and_reset_without_data_pass(net):
    assert net.raw("c.connect()\nc.send('FA', 1)\nprint(c.wait('F') is not None)") == "True\n"
    assert net.seen() == "end"
    net.raw("c.connect()\nc.send('R', 1)")
    assert net.seen() == "ConnectionResetError", net.daemon.log()


@FAMILIES
def test_data_in_the_syn_stays_behind(net, family):
    """With a cookie of the server, Fast Open would hand it to the application at once."""
    net.server.sysctl("net.ipv4.tcp_fastopen", 0x603)
    script = ("c.send('S', payload=WRONG, options=[('MSS', 1460), (34, b'')])\n"
              "answer = c.wait('SA')\nc.peer = answer.seq + 1\n"
              "print(answer.ack == (c.isn + 1) % 2**32)\nc.send('PA', 1, RIGHT)" + THANKS)
    said = net.raw(script, family)
    assert said.startswith("True\n")
    expect_open(net, said)


def test_syn_cookies_of_the_server(net):
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    expect_open(net, net.raw("c.connect()\nc.send('PA', 1, RIGHT)" + THANKS))
    # Each retransmission of other bytes would be another try under one cookie.
    script = ("c.connect()\nc.send('PA', 1, WRONG)\nfor i in range(50):\n"
              "    c.send('PA', 1, RIGHT)\nprint(c.wait('P', 1))")
    assert net.raw(script) == "None\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()


@FAMILIES
@SERVICES
@pytest.mark.parametrize("first", ["c.send('A', 3)\n", "c.send('PA', 3, RIGHT[2:5])\n",
                                   "c.send('PA', 1, RIGHT[:1], hops=1)\nc.send('A', 3)\n",
                                   "c.send('PA', 1, RIGHT, hops=1)\nc.send('A', 3)\n",
                                   "c.send('PA', 1, RIGHT, hops=1)\nc.send('PA', 3, RIGHT[2:])\n"],
                         ids=["nothing", "inside", "held", "lost, nothing", "lost, inside"])
def test_handshake_with_a_cookie_and_another_number(lab, family, reassemble, first):
    """A server with SYN cookies would begin the stream up to three bytes late."""
    net = IntegrityNet(lab, CONFIG.replace(f"integrity = {N};", f"integrity = {N}; {reassemble}"))
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    cut = not reassemble and "RIGHT[:1]" in first  # too short, so the connection ends
    said = net.raw("c.send('S', options=[('MSS', 1460)])\nc.peer = (c.wait('SA').seq + 1) % 2**32\n" +
                   first + ("c.send('A', 1)" + DEAD if cut else "c.send('PA', 1, RIGHT)" + THANKS),
                   family)
    if cut:
        assert said == "reset\n"
    else:
        expect_open(net, said)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_restart_while_pending_ends_the_connection(net, end):
    """The new daemon does not know the SYN: it cannot check, so it does not open."""
    process = net.client.start(
        [PYTHON, SOURCE / "tests/system/raw_client.py", "10.3.0.2", "10.2.0.2", PORT, 30500,
         f"{knock_client.token(KNOCKCTL, SECRET, '10.3.0.2', PORT, RIGHT[:N]):08x}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    flag = net.lab.folder / "restarted"
    process.stdin.write(f"import os\nc.connect()\nprint('connected', flush=True)\n"
                        f"while not os.path.exists({str(flag)!r}): time.sleep(0.01)\n"
                        f"c.send('PA', 1, {RIGHT!r})" + DEAD)
    process.stdin.close()
    assert process.stdout.readline() == "connected\n"
    # The client's ACK may still be in the queue, and die with the daemon.
    wait_until(lambda: "ESTAB" in net.sockets(), what="the server's side of the connection")
    getattr(net.daemon, end)()
    net.daemon.start()
    flag.touch()
    assert process.stdout.readline() == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", reason="pending-unknown")


def test_server_that_speaks_first(net):
    """Real ssh and sshd: the banner passes, and the client's greeting is the checked payload."""
    ssh = net.lab.sshd(net.server, 22)
    isn = {greeting: knock_client.token(KNOCKCTL, SECRET, "10.3.0.2", 22, greeting)
           for greeting in (b"SSH-2.0-", b"SSH-1.99")}
    for greeting, works in ((b"SSH-2.0-", True), (b"SSH-1.99", False)):
        proxy = (f"{PYTHON} -c \"import sys; sys.path.insert(0, '{SOURCE}/tests/system');"
                 f"import knock_client as k; s = k.connect('10.3.0.2', 22, {isn[greeting]});"
                 f"s.settimeout(None); k.relay(0, 1, s)\"")
        result = net.client.run(["ssh", *ssh, "-o", f"ProxyCommand={proxy}", "root@10.3.0.2",
                                 "echo inside"], check=False, env=dict(os.environ))
        assert (result.stdout == "inside\n") == works
    assert net.daemon.events(event="verified", service="ssh", reason="payload-valid")
    assert net.daemon.events(event="reset", service="ssh", reason="payload-wrong")


def test_later_bytes_need_no_daemon(net):
    script = ("c.connect()\nc.send('PA', 1, RIGHT)" + THANKS +
              "\nc.peer = (c.peer + 6) % 2**32\nprint('opened', flush=True)\n"
              "for i in range(100): c.send('A', 1 + len(RIGHT) + 10 * i, b'0123456789')\n")
    before = net.daemon.queued_packets()
    net.raw(script)
    assert net.bytes_seen(len(RIGHT) + 1000) == RIGHT + b"0123456789" * 100
    wait_until(lambda: net.daemon.queued_packets() - before <= 8, what="few packets in the queue")


# Each makes a segment that the gateway takes for good and that is thrown away behind it.
DISCARDED = pytest.mark.parametrize("how", [
    pytest.param("hops=1", id="hop limit"),
    pytest.param("options=[(19, b'x' * 16)]", id="TCP-MD5"),
])


@FAMILIES
def test_acknowledgement_of_what_the_server_has_not_said(net, family):
    """It does not count, whatever it brings: the server may take it for one of another connection."""
    script = ("c.connect()\npeer = c.peer\nfor wrong in (-60000, -1, 1, 60000):\n"
              "    c.peer = (peer + wrong) % 2**32\n    c.send('A', 1)\n    c.send('PA', 1, WRONG)\n"
              "c.peer = peer\nassert not c.wait('P', 1)\nc.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script, family))
    assert len(net.daemon.events(event="dropped", reason="acknowledgement-wrong")) == 8


@FAMILIES
@SERVICES
@DISCARDED
def test_right_bytes_that_the_server_discards_open_nothing(lab, how, reassemble, family):
    """Until the server has said that it has these bytes no other takes their place, and when they
    come at last the connection goes on."""
    net = IntegrityNet(lab, CONFIG.replace(f"integrity = {N};", f"integrity = {N}; {reassemble}"))
    script = (f"c.connect()\nc.send('PA', 1, RIGHT, {how})\n"
              "c.send('PA', 1, WRONG)\nc.send('A', 1, b'xyz')\n"
              "c.send('PA', N - 2, WRONG[N - 3:])\nc.send('FA', 5)\n"
              "assert not c.wait('P', 1)\nc.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script, family))
    assert net.daemon.events(event="dropped", reason="payload-conflict")
    assert net.daemon.wait_event(event="delivered")


@FAMILIES
def test_server_that_never_gets_the_bytes(net, family):
    """No word of the server in time: both sides are reset."""
    net.server.nft("""table inet loss { chain in { type filter hook prerouting priority 0;
        tcp dport 7000 tcp flags & psh == psh drop; }; }""")
    # Longer than any other test may wait: the time that a server has.
    script = "c.connect()\nc.send('PA', 1, RIGHT)\nprint('reset' if c.wait('R', 40) else 'silence')"
    assert net.raw(script, family) == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", reason="server-silent")


@FAMILIES
@SERVICES
def test_acknowledgement_forged_on_the_client_s_side(lab, reassemble, family):
    """Who is on the way sees every number, and can speak in the server's name towards the client. The
    gateway must not take that for the server's word."""
    net = IntegrityNet(lab, CONFIG.replace(f"integrity = {N};", f"integrity = {N}; {reassemble}"))
    for kind in ("all", "default", "out0"):
        net.gateway.sysctl(f"net.ipv4.conf.{kind}.rp_filter", 0)
    script = ("c.connect()\nc.send('PA', 1, RIGHT, hops=1)\n"
              "for i in range(3):\n    c.send_back('A', c.peer, 1 + len(RIGHT))\n"
              "c.send('PA', 1, WRONG)\nassert not c.wait('P', 1)\nc.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script, family))
    assert net.daemon.events(event="dropped", reason="payload-conflict")


@FAMILIES
@SERVICES
def test_acknowledgement_forged_in_the_name_of_a_backend(lab, reassemble, family):
    """With snat a backend speaks to the gateway's own address, which no interface leads to; and the
    default route does not make the client's side that of the backend."""
    net = IntegrityNet(lab, CONFIG.replace("backends =", f"snat = true; {reassemble} backends ="))
    net.gateway.default_route("10.2.0.2", "fd02::2")
    for kind in ("all", "default", "out0"):
        net.gateway.sysctl(f"net.ipv4.conf.{kind}.rp_filter", 0)
    backend, gateway = Direct.SERVER[family], ("10.3.0.1", "fd03::1")[family]
    script = ("c.connect()\nc.send('PA', 1, RIGHT, hops=1)\nfor i in range(3):\n"
              f"    c.send_back('A', c.peer, 1 + len(RIGHT), '{backend}', '{gateway}')\n"
              "c.send('PA', 1, WRONG)\nassert not c.wait('P', 1)\nc.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script, family, address=Direct.FRONT[family]))
    assert net.daemon.events(event="dropped", reason="payload-conflict")


@FAMILIES
@SERVICES
def test_urgent_pointer_into_the_checked_bytes(lab, reassemble, family):
    """It would take a byte out of the stream: with the bytes, ahead of them, and behind them."""
    net = IntegrityNet(lab, CONFIG.replace(f"integrity = {N};", f"integrity = {N}; {reassemble}"))
    script = ("c.connect()\nc.send('UA', 1, urgptr=4)\nc.send('UPA', 1, RIGHT, urgptr=4)\n"
              "c.send('UPA', 1, RIGHT[:5], urgptr=4)\nc.send('PA', 1, RIGHT, hops=1)\n"
              "c.send('UPA', 1, RIGHT, urgptr=4)\nassert not c.wait('P', 1)\n"
              "c.send('PA', 1, RIGHT)" + THANKS)
    expect_open(net, net.raw(script, family))
    assert len(net.daemon.events(event="dropped", reason="urgent")) == 4


@FAMILIES
def test_restart_before_the_server_has_the_bytes(net, family):
    """The new daemon does not know what was checked: whoever speaks next, both sides are reset."""
    flag = net.lab.folder / "restarted"
    process = net.raw_process(f"c.connect()\nc.send('PA', 1, RIGHT, hops=1)\nprint('sent', flush=True)\n"
                              f"import os\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.01)\n"
                              f"c.send('PA', 1, WRONG)" + DEAD, family)
    assert process.stdout.readline() == "sent\n"
    net.daemon.wait_event(event="verified", reason="payload-valid")
    net.daemon.kill()
    net.daemon.start()
    flag.touch()
    assert process.stdout.readline() == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()


@FAMILIES
def test_client_that_never_sends(lab, family):
    """Time is up: both sides are reset, the connection is forgotten, its SYN stays dead."""
    net = IntegrityNet(lab, CONFIG.replace(f"integrity = {N};", f"integrity = {N}; pending_timeout = 1;"))
    # The first copy of the SYN may meet the entry of conntrack that is about to go.
    again = ("\nfor i in range(5):\n    c.send('S')\n    if c.wait('R', 1): break\n"
             "else: print('silence')")
    said = net.raw("c.connect()" + DEAD + again, family)
    assert said == "reset\n", said + net.daemon.log()
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", reason="pending-timeout")
    assert net.daemon.events(event="refused", reason="connection-dead")
    assert net.sockets() == ""


def test_pending_connections_are_bounded(lab):
    """One queue with room for two: the third finds a closed port, and opens nothing unchecked."""
    net = IntegrityNet(lab, CONFIG.replace("count = 2;", "count = 1;") + "max_flows = 1;\n")
    assert net.raw("print(c.connect())") == "True\n"
    assert net.raw("print(c.connect())") == "True\n"
    assert net.raw("c.send('S')" + DEAD) == "reset\n"
    assert net.daemon.events(event="refused", reason="table-full")


@FAMILIES
def test_multipath(lab, monkeypatch, family):
    """Its options say where in the stream a byte belongs: the checked ones need not be the first."""
    if not os.path.exists("/proc/sys/net/mptcp"):
        kernel.lacks("MPTCP", kernel.DEBIAN_12)
    monkeypatch.setattr(integrity_net, "APPLICATION", integrity_net.APPLICATION.replace(
        "socket.socket(socket.AF_INET6)", "socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 262)").replace(
        "listener.setsockopt(socket.SOL_TCP, socket.TCP_FASTOPEN, 16)\n", ""))
    net = IntegrityNet(lab, CONFIG)
    net.server.sysctl("net.mptcp.enabled", 1)
    said = net.raw(
        "c.send('S', options=[(30, b'\\x01\\x01'), ('NOP', None)])\nanswer = c.wait('SA')\n"
        "assert not [kind for kind, _ in answer.options if kind in (30, 'MPTCP')], answer.options\n"
        "c.peer = (answer.seq + 1) % 2**32\nc.send('A', 1)\nc.send('PA', 1, RIGHT)" + THANKS, family)
    assert said == "thanks\n", said + net.daemon.log()
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    # With SYN cookies the server takes the client's word for what was in the SYN. Bytes that belong
    # elsewhere would not reach the application.
    net.server.sysctl("net.ipv4.tcp_syncookies", 2)
    said = net.raw(
        "import struct\nelsewhere = struct.pack('>BBQIH', 0x20, 0x0c, 2**40, 1, N)\n"
        "c.send('S')\nc.peer = (c.wait('SA').seq + 1) % 2**32\n"
        "c.send('A', 1, options=[(30, struct.pack('>BBQQ', 1, 1, 1234, 5678))])\n"
        "c.send('PA', 1, RIGHT[:N], options=[(30, elsewhere), ('NOP', None), ('NOP', None)])" + THANKS, family)
    assert said == "thanks\n", said + net.daemon.log()
    assert net.bytes_seen(N) == RIGHT[:N]


@FAMILIES
@pytest.mark.parametrize("front", [False, True], ids=["routed", "backend"])
def test_first_bytes_that_are_too_large_for_the_way_to_the_server(net, front, family):
    """The client must hear of it, and so it does not wait for the check."""
    net.gateway.run("ip link set in0 mtu 1300")
    address = (Direct.FRONT if front else Direct.SERVER)[family]
    payload = RIGHT + bytes(3000)
    isn = knock_client.token(KNOCKCTL, SECRET, address, PORT, payload[:N])
    code = (f"import knock_client\nc = knock_client.connect('{address}', {PORT}, {isn})\n"
            f"c.sendall({RIGHT!r} + bytes(3000))\nprint(c.recv(6).decode())")
    said = net.client.run([PYTHON, "-c", code], check=False,
                          env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}).stdout
    expect_open(net, said, payload)
