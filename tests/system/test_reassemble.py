# SPDX-License-Identifier: GPL-2.0-or-later
"""Integrity mode with reassemble = true: the first N bytes may come in several segments. Nothing
reaches the application before all of them are right; what was acknowledged reaches it for sure.

The network is that of topology.Direct: client, gateway with knockgw, server."""
import subprocess

import pytest

import knock_client
from integrity_net import (DEAD, FAMILIES, N, PLACES, PORT, RIGHT, SECRET, THANKS, WRONG,
                           IntegrityNet, address_of, expect_open)
from lab import KNOCKCTL, PYTHON, SOURCE, wait_until
from topology import Direct

LONG, LONG_PORT = 20000, 7001  # behind FRONT, with the application as its backend
LONG_TEXT = bytes(range(256)) * 100
CONFIG = f"""services = (
  {{ name = "app"; address = [ "10.3.0.2", "fd03::2", "10.2.0.1", "fd02::1" ]; port = {PORT};
    secret = "{SECRET}"; integrity = {N}; reassemble = true; }},
  {{ name = "front"; address = [ "10.2.0.10", "fd02::10" ]; port = {PORT}; secret = "{SECRET}";
    integrity = {N}; reassemble = true;
    backends = ( {{ address = "10.3.0.2"; }}, {{ address = "fd03::2"; }} ); }},
  {{ name = "long"; address = [ "10.2.0.10", "fd02::10" ]; port = {LONG_PORT}; secret = "{SECRET}";
    integrity = {LONG}; reassemble = true;
    backends = ( {{ address = "10.3.0.2"; port = {PORT}; }},
                 {{ address = "fd03::2"; port = {PORT}; }} ); }},
  {{ name = "brief"; address = [ "10.2.0.10", "fd02::10" ]; port = 7002; secret = "{SECRET}";
    integrity = {N}; reassemble = true; pending_timeout = 1; reassemble_timeout = 1;
    backends = ( {{ address = "10.3.0.2"; port = {PORT}; }},
                 {{ address = "fd03::2"; port = {PORT}; }} ); }}
);
queues = {{ first = 40; count = 2; }};
max_held = 2;
log = {{ level = "debug"; }};
"""
@pytest.fixture
def net(lab):
    return IntegrityNet(lab, CONFIG)


# A real client: argv are address, port, ISN, whether to set TCP_NODELAY, and the pieces in hex.
CLIENT = f"""
import socket, sys
sys.path.insert(0, {str(SOURCE / "tests/system")!r})
import knock_client
address, port, isn, nodelay = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "True"
client = knock_client.connect(address, port, isn)
client.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, nodelay)
try:
    for piece in sys.argv[5:]:
        client.sendall(bytes.fromhex(piece))
    print(client.recv(6).decode())
    # To leave with answers unread would be a reset, which could overtake what was sent.
    client.shutdown(socket.SHUT_WR)
    while client.recv(65536):
        pass
except OSError as error:
    print(type(error).__name__)
"""


def real_client(net, address, pieces, nodelay=False, port=PORT, count=N, right=None):
    right = b"".join(pieces) if right is None else right
    isn = knock_client.token(KNOCKCTL, SECRET, address, port, right[:count])
    return net.client.run([PYTHON, "-c", CLIENT, address, port, isn, nodelay,
                           *(piece.hex() for piece in pieces)], timeout=30).stdout


def pieces_of(data, *sizes):
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return pieces + [data]


@FAMILIES
@PLACES
@pytest.mark.parametrize("nodelay", [False, True], ids=["Nagle", "no delay"])
def test_real_client_in_pieces(lab, place, nodelay, family):
    """With Nagle's algorithm the second piece waits for an acknowledgement of the first."""
    net = IntegrityNet(lab, CONFIG, on_gateway=place == "local")
    said = real_client(net, address_of(place, family), pieces_of(RIGHT, 3, 4, 5), nodelay)
    assert said == "thanks\n", said + net.daemon.log()
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    assert net.daemon.events(event="verified", reason="payload-valid", key="1")
    assert net.daemon.wait_event(event="delivered")


@FAMILIES
def test_wrong_pieces_end_it_on_both_sides(net, family):
    said = real_client(net, Direct.SERVER[family], pieces_of(WRONG, 3, 4, 5), right=RIGHT)
    assert said == "ConnectionResetError\n", said + net.daemon.log()
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", reason="payload-wrong")
    assert net.sockets() == ""


@FAMILIES
def test_more_than_a_segment(net, family):
    """20000 bytes are more than a congestion window starts with."""
    said = real_client(net, Direct.FRONT[family], [LONG_TEXT], port=LONG_PORT, count=LONG)
    assert said == "thanks\n", said + net.daemon.log()
    assert net.bytes_seen(len(LONG_TEXT)) == LONG_TEXT
    assert net.daemon.wait_event(event="delivered")


@FAMILIES
def test_any_order_and_other_bytes(net, family):
    """The first copy of each byte wins; other bytes reach the server neither before nor after."""
    script = ("c.connect()\nc.send('PA', 5, RIGHT[4:N])\n"
              "c.send('PA', 1, RIGHT[:4] + b'x' * 12)\nc.send('PA', 1, b'x' * N)" + THANKS +
              "\nc.peer = (c.peer + 6) % 2**32\nc.send('PA', 1 + N, RIGHT[N:])" + THANKS)
    said = net.raw(script, family)
    assert said == "thanks\nthanks\n", said + net.daemon.log()
    assert net.bytes_seen(len(RIGHT)) == RIGHT


def test_end_with_the_last_piece(net):
    script = "c.connect()\nc.send('PA', 1, RIGHT[:9])\nc.send('FPA', 10, RIGHT[9:])" + THANKS
    expect_open(net, net.raw(script))
    assert net.seen() == "end"


def test_end_before_all_is_there(net):
    script = "c.connect()\nc.send('FPA', 1, RIGHT[:9])" + DEAD
    assert net.raw(script) == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", reason="payload-short")


HELD = "c.connect()\nc.send('PA', 1, RIGHT[:9])\nassert c.wait('A').ack == (c.isn + 10) % 2**32\n"


@FAMILIES
def test_reset_while_holding(net, family):
    """The client's number is ahead of what the server has: it gets the one that it believes."""
    net.raw(HELD + "c.send('R', 10)", family)
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.sockets() == ""


@FAMILIES
@pytest.mark.parametrize("sent", ["nothing", "part"])
def test_time_is_up(net, sent, family):
    """Both sides are reset, also when bytes were acknowledged that now reach nobody."""
    script = (HELD if sent == "part" else "c.connect()\n") + DEAD
    assert net.raw(script, family, address=Direct.FRONT[family], port=7002) == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", service="brief", reason="pending-timeout")
    assert net.sockets() == ""
    assert "mark=536870912" not in net.tracked(net.next_port)


def test_time_is_up_on_this_host(lab):
    config = CONFIG.replace("reassemble = true; }", "reassemble = true; reassemble_timeout = 1; }", 1)
    net = IntegrityNet(lab, config, on_gateway=True)
    assert net.raw(HELD + DEAD, address=Direct.GATEWAY[0]) == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.sockets() == ""


def test_no_room_waits_for_room(net):
    """Each of the two queues holds back one connection; the addresses decide on the queue."""
    flag = net.lab.folder / "go-on"
    first = net.raw_process(HELD + f"print('held', flush=True)\nimport os\n"
                            f"while not os.path.exists({str(flag)!r}): time.sleep(0.01)\n"
                            f"c.send('PA', 10, RIGHT[9:])" + THANKS)
    assert first.stdout.readline() == "held\n"
    second = net.client.start(
        [PYTHON, "-c", CLIENT, "10.3.0.2", PORT,
         knock_client.token(KNOCKCTL, SECRET, "10.3.0.2", PORT, RIGHT[:N]), True,
         RIGHT[:9].hex(), RIGHT[9:].hex()], stdout=subprocess.PIPE, text=True)
    net.daemon.wait_event(event="dropped", reason="hold-full")
    flag.touch()
    assert first.stdout.readline() == "thanks\n", net.daemon.log()
    assert second.stdout.readline() == "thanks\n", net.daemon.log()
    assert net.bytes_seen(2 * len(RIGHT)) == RIGHT * 2


@FAMILIES
@pytest.mark.parametrize("front", [False, True], ids=["routed", "backend"])
def test_restart_while_holding(net, front, family):
    """The bytes that were acknowledged are lost: whoever speaks next, both sides are reset."""
    flag = net.lab.folder / "restarted"
    process = net.raw_process(HELD + f"print('held', flush=True)\nimport os\n"
                              f"while not os.path.exists({str(flag)!r}): time.sleep(0.01)\n"
                              f"c.send('PA', 10, RIGHT[9:])" + DEAD, family,
                              address=(Direct.FRONT if front else Direct.SERVER)[family])
    assert process.stdout.readline() == "held\n"
    net.daemon.kill()
    net.daemon.start()
    flag.touch()
    assert process.stdout.readline() == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.sockets() == ""


@FAMILIES
def test_reload_with_another_number_while_holding(net, family):
    """More bytes are to be checked than there is room for: the connection ends, not the daemon."""
    flag = net.lab.folder / "reloaded"
    process = net.raw_process(HELD + f"print('held', flush=True)\nimport os\n"
                              f"while not os.path.exists({str(flag)!r}): time.sleep(0.01)\n"
                              f"c.send('PA', 10, RIGHT[9:])" + DEAD, family)
    assert process.stdout.readline() == "held\n"
    config = net.daemon.config
    config.write_text(config.read_text().replace(f"integrity = {N};", "integrity = 65535;", 1))
    net.daemon.knockctl("reload")
    flag.touch()
    assert process.stdout.readline() == "reset\n"
    assert net.seen() == "ConnectionResetError", net.daemon.log()
    assert net.daemon.events(event="reset", reason="configuration-changed")
    assert net.sockets() == ""


@FAMILIES
def test_loss_on_the_way_to_the_server(net, family):
    """What the client was told is there is sent until the server has it."""
    net.server.nft("""table inet loss { chain in { type filter hook prerouting priority 0;
        tcp dport 7000 tcp flags & psh == psh drop; }; }""")
    process = net.raw_process(HELD + "c.send('PA', 10, RIGHT[9:])" + THANKS, family)
    net.daemon.wait_event(event="verified", reason="payload-valid")
    assert not net.daemon.events(event="delivered")
    net.server.run("nft delete table inet loss")
    assert process.stdout.readline() == "thanks\n", net.daemon.log()
    assert net.bytes_seen(N)[:N] == RIGHT[:N]
    net.daemon.wait_event(event="delivered")


@FAMILIES
def test_timestamps(net, family):
    """Our acknowledgements and segments pass the check for old segments (PAWS) on both sides."""
    net.client.sysctl("net.ipv4.tcp_timestamps", 2)
    address = Direct.SERVER[family]
    said = net.client.run([PYTHON, "-c", TIMED_CLIENT, KNOCKCTL, SECRET, address, PORT,
                           RIGHT[:N].hex(), *(piece.hex() for piece in pieces_of(RIGHT, 3, 4))],
                          timeout=60).stdout
    assert said == "thanks\n", said + net.daemon.log()
    assert net.bytes_seen(len(RIGHT)) == RIGHT
    assert net.daemon.wait_event(event="delivered")


# With tcp_timestamps = 2 a TSval is the kernel's clock in milliseconds: the token for one that is
# about to come is computed beforehand, and the SYN sent at that very millisecond.
TIMED_CLIENT = f"""
import socket, sys, time
sys.path.insert(0, {str(SOURCE / "tests/system")!r})
import knock_client
knockctl, secret, address, port, checked = sys.argv[1:6]
def milliseconds():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000000
lead = 100
for attempt in range(50):
    tsval = milliseconds() + lead
    isn = knock_client.token(knockctl, secret, address, int(port), bytes.fromhex(checked),
                             tsval % 2**32)
    if milliseconds() >= tsval:
        lead *= 2
        continue
    while milliseconds() < tsval:
        pass
    try:
        client = knock_client.connect(address, int(port), isn)
        break
    except ConnectionRefusedError:
        pass
try:
    for piece in sys.argv[6:]:
        client.sendall(bytes.fromhex(piece))
    print(client.recv(6).decode())
except OSError as error:
    print(type(error).__name__)
"""
