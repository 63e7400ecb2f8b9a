# SPDX-License-Identifier: GPL-2.0-or-later
"""Very many connections: half open, refused, and one after the other for long. What is lost then, and how
much memory it takes. Networks are drawn in topology.py (Direct, Crossroads, TwoGateways); SYNs come from 10.9.x.y.

The hardened build, whose memory is the daemon's own. KNOCKGW_LONG=1 (scripts/test --long): more.
"""
import ctypes
import os
import pathlib
import re

import pytest

from egress_net import Net, egress_config
from faults import PROGRAM
from integrity_net import N, PORT, RIGHT, SECRET, THANKS, IntegrityNet, expect_open
from knock_client import token
from lab import KNOCKCTL, PYTHON, SOURCE, Daemon, wait_until
from reload import Session, isn_of, load
from topology import Crossroads, Direct

LONG = os.environ.get("KNOCKGW_LONG") == "1"
FLOOD = SOURCE / "tests/system/segment_flood.py"
RATE = 15000 if LONG else 10000
# Less than counts as growth.
FLAT = 1 << 20
PR_SET_THP_DISABLE = 41


@pytest.fixture(autouse=True)
def no_huge_pages():
    """A kernel that makes one page of 2 MiB of a few of 4 KiB, sooner or later, is no growth of the daemon,
    which inherits this."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
    yield
    assert prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0


def resident(daemon, *more):
    """Bytes of memory that are the daemon's own, and of more kinds (proc(5))."""
    status = pathlib.Path(f"/proc/{daemon.process.pid}/status").read_text(encoding="ascii")
    return sum(1024 * int(re.search(rf"{kind}:\s+(\d+)", status).group(1))
               for kind in ("RssAnon", "RssShmem", *more))


def flood(namespace, address, port, isn, count, first=0):
    return namespace.run([PYTHON, FLOOD, address, port, isn, count, RATE, first], timeout=300)


def pending(daemon):
    return daemon.ask("status")[0]["pending"]


def half_open_net(lab, more):
    net = IntegrityNet(lab, f"""services = ( {{ name = "app"; address = "{Direct.SERVER[0]}"; port = {PORT};
      secret = "{SECRET}"; integrity = {N}; pending_timeout = 600; }} );
      queues = {{ first = 40; count = 2; }}; {more}""", program=PROGRAM)
    net.gateway.run(["ip", "route", "add", "10.9.0.0/16", "via", Direct.CLIENT[0]])
    net.isn = token(KNOCKCTL, SECRET, Direct.SERVER[0], PORT, RIGHT[:N])
    return net


def test_hundred_thousand_half_open_connections(lab):
    """Right SYNs, never a payload. Lost: nothing, and memory of fixed size."""
    count = 250000 if LONG else 100000
    net = half_open_net(lab, "")
    before = resident(net.daemon)
    flood(net.client, Direct.SERVER[0], PORT, net.isn, count)
    wait_until(lambda: pending(net.daemon) > count * 0.98, what="the SYNs to be judged")
    grown = resident(net.daemon) - before
    print(f"{pending(net.daemon)} pending connections, {grown >> 10} KiB more than {before >> 10}")
    assert grown < FLAT
    expect_open(net, net.raw("c.connect(); c.send('PA', 1, RIGHT)" + THANKS))


def test_no_room_for_half_open_connections(lab):
    """Lost: new connections of services in integrity mode, which are refused until there is room. Nobody is
    put out for them, and memory stays where it is."""
    net = half_open_net(lab, "max_flows = 4096;")
    flood(net.client, Direct.SERVER[0], PORT, net.isn, 8000)
    wait_until(lambda: pending(net.daemon) >= 4096, what="the table to be full")
    full = resident(net.daemon)
    flood(net.client, Direct.SERVER[0], PORT, net.isn, 8000, first=8000)
    net.daemon.wait_event(event="refused", reason="table-full")
    assert pending(net.daemon) <= 4096 + 2
    assert abs(resident(net.daemon) - full) < FLAT
    assert net.raw("print(c.connect())") == "False\n"


def count_packets(daemon, reason):
    return sum(row["packets"] for row in daemon.ask("stats")
               if row["kind"] == "packets" and row["reason"] == reason)


def opened(daemon):
    return count_packets(daemon, "token-valid")


def refused(daemon):
    return count_packets(daemon, "token-wrong")


def measure(net, isn, meanwhile):
    """Authorised connections one after the other. Returns how many, and the share of successes."""
    with load(net.client, Crossroads.GATEWAY[0], 80, isn, threads=1) as result:
        meanwhile()
    answers = result["answers"]
    total = sum(answers.values())
    success = answers.get("hidden page", 0) / total
    median, late = result["milliseconds"]
    print(f"{total} connections, {100 * success:.2f} % successful, "
          f"median {median:.1f} ms, 99th percentile {late:.1f} ms, {result['slow']} slow")
    return total, success


def test_authorised_clients_in_a_flood_of_wrong_tokens(lab):
    """Lost: nothing. How long it takes is told, not judged: it depends on the machine."""
    net = Crossroads(lab)
    net.gateway.run(["ip", "route", "add", "10.9.0.0/16", "via", Crossroads.OTHER[0]])
    daemon = Daemon(lab, net.gateway, f"""services = ( {{ name = "web"; address = "{Crossroads.GATEWAY[0]}";
      port = 80; secret = "secret"; }} ); queues = {{ first = 40; count = 2; }};
      limits = {{ max_failures = 1000; }};""", PROGRAM).start()
    isn = isn_of("secret", Crossroads.GATEWAY[0], 80)
    count = 600000 if LONG else 40000

    print("without flood:", end=" ")
    _, calm = measure(
        net, isn, lambda: wait_until(lambda: opened(daemon) > 300, what="connections"))
    print("in the flood: ", end=" ")
    total, success = measure(
        net, isn, lambda: flood(net.other, Crossroads.GATEWAY[0], 80, "wrong", count))
    assert calm == 1
    assert success >= 0.999 and total > 50
    # It was one.
    assert refused(daemon) > 0.9 * count


def test_connections_for_long_in_flat_memory(lab):
    """No state is kept of a verified connection. Lost: nothing."""
    step = 100000 if LONG else 10000
    net = Crossroads(lab)
    net.gateway.run(["ip", "route", "add", "10.9.0.0/16", "via", Crossroads.OTHER[0]])
    for state in ("syn_sent", "syn_recv", "close"):
        net.gateway.sysctl(f"net.netfilter.nf_conntrack_tcp_timeout_{state}", 1)
    daemon = Daemon(lab, net.gateway, f"""services = ( {{ name = "web"; address = "{Crossroads.GATEWAY[0]}";
      port = 80; secret = "secret"; }} ); max_flows = 4096;
      queues = {{ first = 40; count = 2; }};""", PROGRAM).start()
    isn = isn_of("secret", Crossroads.GATEWAY[0], 80)
    sizes = []
    for number in range(11):
        flood(net.other, Crossroads.GATEWAY[0], 80, isn, step, first=number * step)
        wait_until(lambda: opened(daemon) >= 0.98 * step * (number + 1), what="the verdicts")
        sizes.append(resident(daemon))
    print(f"{opened(daemon)} connections; KiB after each {step}:", *(size >> 10 for size in sizes))
    # The first ones fill the tables of fixed size.
    assert max(sizes[1:]) - min(sizes[1:]) < FLAT


def test_egress_flows_in_bounded_memory(lab):
    """Lost: new connections beyond max_flows, which are dropped until there is room. Nobody is put out for
    them."""
    room = 16384
    net = Net(lab, masquerade=False)
    assert net.daemon.stop() == 0
    daemon = Daemon(lab, net.egress, egress_config(lab, more=f"max_flows = {room};"), PROGRAM).start()
    net.egress.run(["ip", "route", "add", "10.9.0.0/16", "via", Net.LAPTOP[0]])

    def size():
        return resident(daemon, "RssFile")

    sizes, flows = [size()], [0]
    for number in range(4):
        flood(net.laptop, Net.SERVER[0], 80, 1, room // 2, first=number * room // 2)
        wait_until(lambda: daemon.ask("status")[0]["flows"] >= min(number + 1, 2) * room * 0.48,
                   what="flows")
        sizes.append(size())
        flows.append(daemon.ask("status")[0]["flows"])
    print("flows:", *flows, " KiB:", *(size >> 10 for size in sizes))
    assert daemon.events(reason="table-full")
    assert max(flows) <= room
    assert sizes[2] - sizes[0] < 160 * flows[2] + FLAT
    assert abs(sizes[4] - sizes[3]) < FLAT


# Puts entries into the conntrack table that it must not throw out (assured), until there is no room.
FILL = """
import socket, struct, sys
def attribute(kind, data):
    return struct.pack("HH", 4 + len(data), kind) + data + b"\\0" * (-len(data) % 4)
def tuple_(kind, a, b, sport, dport):
    return attribute(0x8000 | kind, attribute(0x8001, attribute(1, a) + attribute(2, b)) +
                     attribute(0x8002, attribute(1, b"\\x11") + attribute(2, struct.pack("!H", sport)) +
                               attribute(3, struct.pack("!H", dport))))
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
s.bind((0, 0))
b = socket.inet_aton("10.8.0.1")
done = 0
for number in range(int(sys.argv[1])):
    a = socket.inet_aton("10.7.0.0")[:2] + struct.pack("!H", number // 60000)
    port = 1024 + number % 60000
    # CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS (seen reply, assured, confirmed), CTA_TIMEOUT
    data = (b"\\x02\\0\\0\\0" + tuple_(1, a, b, port, 9) + tuple_(2, b, a, 9, port) +
            attribute(3, struct.pack("!I", 14)) + attribute(7, struct.pack("!I", 600)))
    last = number % 256 == 255
    # IPCTNL_MSG_CT_NEW; NLM_F_REQUEST, NLM_F_CREATE, NLM_F_EXCL, sometimes NLM_F_ACK
    s.send(struct.pack("IHHII", 16 + len(data), 0x100, 0x601 | (4 if last else 0), number, 0) + data)
    if last:
        try:
            while True:
                answer = s.recv(4096)
                if struct.unpack_from("i", answer, 16)[0] == -12:
                    print("full", number)
                    sys.exit()
                if struct.unpack_from("I", answer, 8)[0] == number:
                    break
        except OSError as error:
            print(error)
"""


def test_conntrack_table_full(lab):
    """Lost: new connections, authorised or not, as long as it lasts: the kernel drops what it cannot track.
    Nothing is opened. Established connections go on."""
    net = Crossroads(lab)
    room = int(net.gateway.run("cat /proc/sys/net/netfilter/nf_conntrack_max").stdout)
    if room > 600000:
        pytest.skip(f"nf_conntrack_max is {room}: filling that table takes too much memory. Its size belongs "
                    "to the machine, which tests leave alone")
    Daemon(lab, net.gateway, f"""services = ( {{ name = "web"; address = "{Crossroads.GATEWAY[0]}";
      port = 80; secret = "secret"; }} ); queues = {{ first = 40; count = 2; }};""").start()
    session = Session(net.client, Crossroads.GATEWAY[0], 80, "secret")
    assert session.fetch() == "hidden page"
    isn = isn_of("secret", Crossroads.GATEWAY[0], 80)
    assert "full" in net.gateway.run([PYTHON, "-c", FILL, 2 * room], timeout=300).stdout
    assert session.fetch() == "hidden page"
    for which in (isn, 12345):
        assert net.attempts(net.other, Crossroads.GATEWAY[0], which) == ["TimeoutError"]
    assert session.fetch() == "hidden page"
    net.gateway.run("conntrack -D -p udp", check=False, timeout=300)
    assert net.attempts(net.other, Crossroads.GATEWAY[0], isn) == ["open"]
    assert net.attempts(net.other, Crossroads.GATEWAY[0], 12345) == ["ConnectionRefusedError"]
    assert session.fetch() == "hidden page"
