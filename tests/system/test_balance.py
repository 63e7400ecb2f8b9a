# SPDX-License-Identifier: GPL-2.0-or-later
"""Several backends behind one address. The network is drawn in topology.py (Direct); the backends
are nginx instances on ports 8001 to 8004 of server, and client has 120 addresses of each family:

    10.2.0.101 to 10.2.0.220, fd02::101 to fd02::220
"""
import collections
import re
import time

import pytest

from lab import PYTHON, SLOWNESS, wait_until
from reload import (ENVIRONMENT, Reloading, Session, all_answered, fetch, fetch_all, isn_of, load,
                    own_resets)
from test_metrics import promtool, samples, scrape
from test_protect import scan
from topology import Direct

FRONT = Direct.FRONT
CLIENTS = ([f"10.2.0.{number}" for number in range(101, 221)],
           [f"fd02::{number}" for number in range(101, 221)])
FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])


def backends(*numbers, **more):
    """Backends on these ports, more["b2"] being what else the configuration says of number 2."""
    return "backends = (" + ", ".join(
        f'{{ address = "{address}"; port = {8000 + number}; {more.get(f"b{number}", "")} }}'
        for number in numbers for address in Direct.SERVER) + ");"


def config(more):
    return f"""
services = ( {{ name = "www"; address = [ "{FRONT[0]}", "{FRONT[1]}" ]; port = 80; secret = "s";
                {more} }} );
queues = {{ first = 40; count = 2; }};
"""


@pytest.fixture
def net(lab):
    net = Direct(lab)
    net.lab = lab
    net.backends = {number: lab.nginx(net.server, 8000 + number, f"b{number}")
                    for number in range(1, 5)}
    commands = [f"address add {address}/{length} dev up0 {flags}" for addresses, length, flags in
                ((CLIENTS[0], 24, ""), (CLIENTS[1], 64, "nodad")) for address in addresses]
    net.client.run(["ip", "-batch", "-"], input="\n".join(commands) + "\n")
    return net


def start(net, more):
    net.daemon = Reloading(net.lab, net.gateway, config(more)).start()
    return net.daemon


def spread(net, family, count=120):
    """Which backend each client gets."""
    pages = fetch_all(net.client, FRONT[family], 80, "s", CLIENTS[family][:count])
    return dict(zip(CLIENTS[family], pages))


def shares(pages):
    return collections.Counter(pages.values())


@FAMILIES
def test_hash_keeps_clients_where_they_are(net, family):
    daemon = start(net, backends(1, 2, 3))
    first = spread(net, family)
    assert set(first.values()) == {"b1", "b2", "b3"}
    assert min(shares(first).values()) > 20
    assert spread(net, family, 40) == {c: first[c] for c in CLIENTS[family][:40]}
    # One more: only clients that go to it have moved, about a quarter.
    assert daemon.reload(config(backends(1, 2, 3, 4))) is None
    more = spread(net, family)
    moved = [client for client in first if more[client] != first[client]]
    assert {more[client] for client in moved} == {"b4"} and 12 < len(moved) < 48
    # One less: only its clients have moved. And over a restart none does.
    assert daemon.reload(config(backends(1, 3, 4))) is None
    daemon.stop()
    daemon.start()
    less = spread(net, family)
    assert all(less[client] == more[client] for client in more if more[client] != "b2")
    assert "b2" not in less.values()


@FAMILIES
def test_weights(net, family):
    daemon = start(net, backends(1, 2, b1="weight = 3;"))
    hashed = shares(spread(net, family))
    assert hashed["b1"] + hashed["b2"] == 120 and 10 < hashed["b2"] < 52
    assert daemon.reload(config(backends(1, 2, b1="weight = 3;") +
                                'schedule = "random";')) is None
    random = shares(spread(net, family))
    assert random["b1"] + random["b2"] == 120 and 10 < random["b2"] < 52
    assert daemon.reload(config(backends(1, 2, b1="weight = 3;") +
                                'schedule = "round-robin";')) is None
    assert shares(spread(net, family)) == {"b1": 90, "b2": 30}


# The share of each backend is binomial: 5.5 standard deviations to either side. The three together
# are left in one of eight million runs.
CHOICES = 2000
DEVIATIONS = {"b1": (5 / 12, 122), "b2": (1 / 4, 107), "b3": (1 / 3, 116)}


@FAMILIES
def test_random_follows_the_weights(net, family):
    start(net, backends(1, 2, 3, b1="weight = 5;", b2="weight = 3;", b3="weight = 4;") +
          'schedule = "random";')
    pages = fetch_all(net.client, FRONT[family], 80, "s", CLIENTS[family] * 17)[:CHOICES]
    found = collections.Counter(pages)
    assert sum(found.values()) == CHOICES and set(found) == {"b1", "b2", "b3"}
    for page, (share, deviation) in DEVIATIONS.items():
        assert abs(found[page] - CHOICES * share) <= deviation


@FAMILIES
def test_hash_follows_the_weights(net, family):
    """Nothing here is left to chance: the shares of 1,024 slots are always the same ones."""
    start(net, backends(1, 2, 3, b1="weight = 5;", b2="weight = 3;", b3="weight = 4;"))
    chain = net.gateway.run("nft list chain inet knockgw to_www_80").stdout
    address = re.escape(("10.3.0.2", "fd03::2")[family])
    found = collections.Counter(re.findall(rf"\d+ : {address} \. (\d+)", chain))
    assert sum(found.values()) == 1024
    for port, share in (("8001", 5 / 12), ("8002", 1 / 4), ("8003", 1 / 3)):
        assert abs(found[port] - 1024 * share) < 64  # 4 standard deviations of a fair deal


def test_round_robin_takes_turns(net):
    start(net, backends(1, 2, 3) + 'schedule = "round-robin";')
    pages = fetch_all(net.client, FRONT[0], 80, "s", [""] * 12)
    assert pages[:3] * 4 == pages and set(pages) == {"b1", "b2", "b3"}


@FAMILIES
def test_drain(net, family):
    daemon = start(net, backends(1, 2))
    drained = "b1" if fetch(net.client, FRONT[family], 80, "s") == "b1" else "b2"
    session = Session(net.client, FRONT[family], 80, "s")
    assert session.fetch() == drained
    assert daemon.reload(config(backends(1, 2, **{drained: 'state = "drain";'}))) is None
    assert drained not in spread(net, family, 40).values()
    assert session.fetch() == drained
    assert daemon.reload(config(backends(1, 2))) is None
    assert fetch(net.client, FRONT[family], 80, "s") == drained
    # With all drained the port is closed; the session goes on.
    assert daemon.reload(config(backends(1, 2, b1='state = "drain";', b2='state = "drain";'))) is None
    assert fetch(net.client, FRONT[family], 80, "s") == "ConnectionRefusedError"
    assert session.fetch() == drained


def states(rows):
    return {row["backend"]: row["state"] for row in rows}


@FAMILIES
def test_drain_by_command(net, family):
    daemon = start(net, backends(1, 2))
    drained = "b1" if fetch(net.client, FRONT[family], 80, "s") == "b1" else "b2"
    number = int(drained[1])
    backend = ("10.3.0.2:{}", "[fd03::2]:{}")[family].format(8000 + number)
    session = Session(net.client, FRONT[family], 80, "s")
    assert session.fetch() == drained
    told = states(daemon.ask("drain", "www", backend))
    assert told.pop(backend) == "drain" and set(told.values()) == {"unchecked"} and len(told) == 3
    assert daemon.wait_event(event="backend-drained", service="www", backend=backend)
    assert drained not in spread(net, family, 40).values()
    assert session.fetch() == drained
    # Again is no news. A reload of the same file and of another one that has it leaves it drained.
    daemon.knockctl("drain", "www", backend)
    assert len(daemon.events(event="backend-drained")) == 1
    assert daemon.reload() is None and daemon.reload(config(backends(2, 3, 1))) is None
    assert states(daemon.ask("backends"))[backend] == "drain"
    assert drained not in spread(net, family, 40).values()
    assert session.fetch() == drained
    assert states(daemon.ask("undrain", "www", backend))[backend] == "unchecked"
    assert drained in spread(net, family, 40).values()
    # One that was out of the file for a while is a new one; the next start knows nothing of it.
    daemon.knockctl("drain", "www", backend)
    assert daemon.reload(config(backends(*({1, 2, 3} - {number})))) is None
    assert daemon.reload(config(backends(1, 2, 3))) is None
    assert states(daemon.ask("backends"))[backend] == "unchecked"
    daemon.knockctl("drain", "www", backend)
    daemon.stop()
    daemon.start()
    assert states(daemon.ask("backends"))[backend] == "unchecked"


def test_drain_of_all_closes_the_port(net):
    daemon = start(net, backends(1, 2))
    session = Session(net.client, FRONT[0], 80, "s")
    page = session.fetch()
    for backend in ("10.3.0.2:8001", "10.3.0.2:8002"):
        daemon.knockctl("drain", "www", backend)
    closed, unused = scan(net, "-sS", FRONT[0], [80, 4711])
    assert closed == unused
    assert fetch(net.client, FRONT[0], 80, "s") == "ConnectionRefusedError"
    assert session.fetch() == page
    assert fetch(net.client, FRONT[1], 80, "s") in ("b1", "b2")


def test_drain_says_what_it_did_not_find(net):
    daemon = start(net, backends(1, 2, b2='state = "drain";'))
    for arguments, error in (
            (("web", "10.3.0.2"), 'no service is named "web"'),
            (("www", "10.3.0.9"), 'service "www" has no backend 10.3.0.9'),
            (("www", "10.3.0.2"), 'service "www" has more than one backend 10.3.0.2, expected '
                                  'ADDRESS:PORT'),
            (("www", "nginx"), 'found "nginx", expected the address of a backend, ADDRESS or '
                               'ADDRESS:PORT'),
            (("www", "[10.3.0.2]:8001"), "expected the address of a backend"),
            (("www", "10.3.0.2:8001x"), "expected the address of a backend")):
        for command in ("drain", "undrain"):
            said = daemon.knockctl(command, *arguments, check=False)
            assert said.returncode == 1 and said.stdout == "" and error in said.stderr
    said = daemon.knockctl("undrain", "www", "10.3.0.2:8002", check=False)
    assert said.returncode == 1 and 'says state = "drain" of it' in said.stderr
    assert daemon.knockctl("drain", "www", check=False).returncode == 2
    assert daemon.knockctl("drain", "www", "10.3.0.2 x", check=False).returncode == 2
    assert not daemon.events(event="backend-drained")


INTERVAL = 1.0
HEALTH = f"health = {{ interval = {INTERVAL}; timeout = 0.3; rise = 2; fall = 2; }};"


def stop(net, number):
    net.backends[number].terminate()
    net.backends[number].wait(timeout=10)


def revive(net, number):
    net.backends[number] = net.lab.nginx(net.server, 8000 + number, f"b{number}")


def wait_for_backends(net, count, event):
    wait_until(lambda: len(net.daemon.events(event=event)) >= count, what=f"{count} {event}")
    seen = time.monotonic()
    # The rules change right afterwards, before this is answered.
    net.daemon.ask("status")
    return seen


def test_dead_backends_leave_and_come_back(net):
    daemon = start(net, backends(1, 2, 3) + HEALTH)
    sessions = {}
    while len(sessions) < 3:
        for client in CLIENTS[0]:
            session = Session(net.client, FRONT[0], 80, "s", source=client)
            sessions.setdefault(session.fetch(), session)
            if len(sessions) == 3:
                break
    before = spread(net, 0, 60)
    stop(net, 2)
    died, wall = time.monotonic(), time.time()
    seen = wait_for_backends(net, 2, "backend-down")  # IPv4 and IPv6
    # A second on top for a machine that does other things, too.
    assert seen - died < INTERVAL + 1
    told = {row["backend"]: row for row in daemon.ask("backends")}
    assert told["10.3.0.2:8002"]["state"] == "down"
    assert told["10.3.0.2:8002"]["last_error"] == "Connection refused"
    assert wall - 1 <= told["10.3.0.2:8002"]["since"] <= told["10.3.0.2:8002"]["last_error_time"] + 1
    assert {row["state"] for name, row in told.items() if "8002" not in name} == {"up"}
    after = spread(net, 0, 60)
    assert all(after[c] == before[c] for c in after if before[c] != "b2")
    assert set(after.values()) == {"b1", "b3"}
    assert sessions["b1"].fetch() == "b1" and sessions["b3"].fetch() == "b3"
    # All dead: the port is as closed as any other, for those with the secret as well.
    stop(net, 1)
    stop(net, 3)
    wait_for_backends(net, 6, "backend-down")
    daemon.wait_event(event="service-down", service="www", family="IPv4")
    for family in (0, 1):
        assert fetch(net.client, FRONT[family], 80, "s") == "ConnectionRefusedError"
        closed, unused = scan(net, "-sS", FRONT[family], [80, 4711])
        assert closed == unused
    for number in (1, 2, 3):
        revive(net, number)
    wait_for_backends(net, 6, "backend-up")
    assert spread(net, 0, 60) == before
    # A reload knows what was known before: a dead backend does not get connections again.
    stop(net, 2)
    wait_for_backends(net, 8, "backend-down")
    assert daemon.reload(config(backends(1, 2, 3) + HEALTH + "decoy_port = 7;")) is None
    assert spread(net, 0, 60) == after
    assert not daemon.events(event="ruleset-lost")


def test_silent_backend_leaves_within_the_interval(net):
    daemon = start(net, backends(1, 2) + HEALTH)
    net.server.nft("table inet silent { chain in { type filter hook input priority 0;"
                   " tcp dport 8001 drop; }; }")
    silent = time.monotonic()
    assert wait_for_backends(net, 2, "backend-down") - silent < INTERVAL + 1
    assert daemon.events(event="backend-down", reason="Connection timed out")
    assert set(spread(net, 0, 40).values()) == {"b2"}


def test_load_does_not_notice_what_happens_to_backends(net):
    """Backends come, are drained and go while new connections are opened all the time."""
    variants = [backends(1, 2, 3), backends(1, 2, 3, 4), backends(1, 2, b2='state = "drain";'),
                backends(2, 3, b2="weight = 5;"), backends(3) + 'schedule = "random";',
                backends(1, 4) + 'schedule = "round-robin";']
    daemon = start(net, variants[0])
    with own_resets(net.server) as resets:
        with load(net.client, FRONT[0], 80, isn_of("s", FRONT[0], 80)) as four, \
                load(net.client, FRONT[1], 80, isn_of("s", FRONT[1], 80)) as six:
            for number in range(int(120 / SLOWNESS)):
                assert daemon.reload(config(variants[number % len(variants)])) is None
        by_server = resets()
    for family in (four, six):
        assert all_answered(family, {"b1", "b2", "b3", "b4"}, by_server), family
        assert sum(family["answers"].values()) > 50 and family["slow"] == 0


@FAMILIES
def test_live_connections_never_move(net, family):
    """One connection to each backend while others come, are drained, die, and go, and while their
    schedule and weights change. Only that to a dead backend ends."""
    daemon = start(net, backends(1, 2, 3) + HEALTH)
    sessions = {}
    for client in CLIENTS[family]:
        session = Session(net.client, FRONT[family], 80, "s", source=client)
        sessions.setdefault(session.fetch(), session)
        if len(sessions) == 3:
            break

    def all_stay(*pages):
        assert {page: sessions[page].fetch() for page in pages} == {page: page for page in pages}

    all_stay("b1", "b2", "b3")
    changes = [backends(1, 2, 3, 4) + HEALTH,                              # one comes
               backends(1, 2, 3, 4, b1='state = "drain";') + HEALTH,       # one is drained
               backends(2, 3, 4) + HEALTH,                                 # and goes
               backends(2, 3, 4) + HEALTH + 'schedule = "random";',
               backends(2, 3, 4, b4="weight = 100;") + 'schedule = "round-robin";',
               backends(4) + HEALTH,                                       # all of them have gone
               backends(4, 3, 2, 1) + HEALTH]
    for change in changes:
        assert daemon.reload(config(change)) is None
        all_stay("b1", "b2", "b3")
    backend = ("10.3.0.2:8002", "[fd03::2]:8002")[family]
    daemon.knockctl("drain", "www", backend)
    all_stay("b1", "b2", "b3")
    stop(net, 1)
    wait_for_backends(net, 2, "backend-down")
    all_stay("b2", "b3")
    assert sessions["b1"].fetch() in ("ConnectionResetError", "cut short")
    # Checks of 2 fail, though it goes on: so do its connections.
    net.server.nft("table inet dead { chain in { type filter hook input priority 0;"
                   " tcp dport 8002 tcp flags & (syn | ack) == syn reject with tcp reset; }; }")
    wait_for_backends(net, 4, "backend-down")
    daemon.knockctl("undrain", "www", backend)
    all_stay("b2", "b3")
    revive(net, 1)
    wait_for_backends(net, 2, "backend-up")
    all_stay("b2", "b3")


HAIRPIN = ("import sys, load, knock_client as k\n"
           "address, isn = sys.argv[1], int(sys.argv[2])\n"
           "try:\n"
           "    s = k.connect(address, 80, isn, 4)\n"
           "    s.sendall(b'GET /who HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
           "    print(load.read_page(s))\n"
           "except OSError as error: print(type(error).__name__)\n")


@FAMILIES
def test_hairpin(net, family):
    """A client in the network of the backends:

        gateway --- switch --+-- server     10.3.0.2  fd03::2
         10.3.0.1            +-- neighbour  10.3.0.3  fd03::3
    """
    switch, neighbour = net.lab.namespace("switch"), net.lab.namespace("neighbour")
    net.gateway.run(f"ip link set in0 netns {switch.name}")
    net.lab.link(net.gateway, "in0", switch, "in1")
    net.lab.link(neighbour, "up0", switch, "in2")
    switch.run("ip link add inside type bridge")
    for device in ("in0", "in1", "in2", "inside"):
        if device != "inside":
            switch.run(f"ip link set {device} master inside")
        switch.run(f"ip link set {device} up")
    net.gateway.address("in0", "10.3.0.1/24", "fd03::1/64")
    neighbour.address("up0", "10.3.0.3/24", "fd03::3/64")
    neighbour.default_route("10.3.0.1", "fd03::1")
    neighbour.sysctl("net.ipv4.tcp_timestamps", 0)

    def page():
        return neighbour.run([PYTHON, "-c", HAIRPIN, FRONT[family], isn_of("s", FRONT[family], 80)],
                             env=ENVIRONMENT).stdout.strip()

    daemon = start(net, backends(1, 2) + "snat = true;")
    assert page() == ("10.3.0.1", "fd03::1")[family]
    # Without, the server answers the neighbour directly, who knows nothing of its address: no
    # connection, and no end to waiting.
    assert daemon.reload(config(backends(1, 2))) is None
    assert page() == "TimeoutError"
    assert fetch(net.client, FRONT[family], 80, "s") in ("b1", "b2")


@FAMILIES
def test_source_address_is_kept_or_masqueraded(net, family):
    daemon = start(net, backends(1, 2))
    source = CLIENTS[family][7]
    assert fetch_all(net.client, FRONT[family], 80, "s", [source], "/who") == [source]
    # Without a way back but to its own network, a backend needs the gateway as its client.
    net.server.run("ip -4 route del default")
    net.server.run("ip -6 route del default")
    assert daemon.reload(config(backends(1, 2) + "snat = true;")) is None
    assert fetch_all(net.client, FRONT[family], 80, "s", [source], "/who") == \
        [("10.3.0.1", "fd03::1")[family]]


FORGED = """
import socket, sys
from scapy.all import IP, IPv6, TCP, raw
source, port, address, flags = sys.argv[1:]
v6 = ":" in address
s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
s.sendto(raw((IPv6 if v6 else IP)(src=source, dst=address) /
             TCP(sport=int(port), dport=80, flags=flags, seq=12345678)), (address, 0))
"""


@FAMILIES
@pytest.mark.parametrize("reject", ["closed", "reset", "drop"])
def test_forged_syn_ends_no_connection(net, family, reject):
    """One SYN without the secret, in the name of a client that is connected: whatever else SYNs like
    it are answered with, connection tracking must not take that for the end."""
    daemon = start(net, backends(1) + f'reject = "{reject}";')
    session = Session(net.client, FRONT[family], 80, "s")
    assert session.fetch() == "b1"
    verified, = daemon.events(event="verified")
    client, port = verified["source"].rsplit(":", 1)
    for flags in ("S", "SEC"):
        net.client.run([PYTHON, "-c", FORGED, client.strip("[]"), port, FRONT[family], flags])
    wait_until(lambda: len(daemon.events(event="refused", reason="token-wrong")) >= 1, what="refusal")
    entries = net.gateway.run(["conntrack", "-L", "-f", ("ipv4", "ipv6")[family], "-p", "tcp",
                               "--sport", port]).stdout
    assert "ESTABLISHED" in entries and "CLOSE" not in entries
    assert session.fetch() == "b1"


def test_each_port_leads_to_the_same_port(net):
    """Backends without a port of their own, and services with several."""
    text = config('backends = ( { address = "10.3.0.2"; }, { address = "10.3.0.2"; port = 8003; } );'
                  'schedule = "round-robin";').replace("port = 80;", "port = [ 8001, 8002 ];")
    text = text.replace(f', "{FRONT[1]}"', "")
    net.daemon = Reloading(net.lab, net.gateway, text).start()
    for port in (8001, 8002):
        assert sorted(fetch_all(net.client, FRONT[0], port, "s", [""] * 2)) == \
            sorted([f"b{port - 8000}", "b3"])


def test_metrics_of_backends(net):
    """What knockctl backends shows, for Prometheus."""
    more = 'metrics = { listen = "127.0.0.1:9477"; };\n'
    text = config(backends(1, 2, 3, b3='state = "drain"; weight = 5;') + HEALTH) + more
    net.daemon = Reloading(net.lab, net.gateway, text).start()
    stop(net, 2)
    wait_for_backends(net, 2, "backend-down")
    net.daemon.knockctl("drain", "www", "10.3.0.2:8001")
    text = scrape(net.gateway)
    assert promtool(text).returncode == 0
    found = samples(text)

    def of(name):
        return {labels.split('"')[3].removeprefix("10.3.0.2:800"): value
                for labels, value in found[f"knockgw_backend_{name}"].items() if "fd03" not in labels}
    assert of("up") == {"1": 1, "2": 0, "3": 1}
    assert of("drained") == {"1": 1, "2": 0, "3": 1}
    assert of("weight") == {"1": 1, "2": 1, "3": 5}
    assert of("check_failures_total")["2"] >= 2 and of("check_failures_total")["1"] == 0
    assert all(of("checks_total").values())
    assert net.daemon.reload() is None
    again = samples(scrape(net.gateway))
    assert all(again["knockgw_backend_checks_total"][labels] >= value
               for labels, value in found["knockgw_backend_checks_total"].items())
    assert again["knockgw_backend_drained"] == found["knockgw_backend_drained"]
