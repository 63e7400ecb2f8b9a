# SPDX-License-Identifier: GPL-2.0-or-later
"""knockctl kick ends established connections: idle ones, busy ones, those of a service that a reload
has removed. The networks are drawn in topology.py."""
import subprocess
import time

import pytest

from knock_client import token
from lab import KNOCKCTL, patient, wait_until
from reload import ENVIRONMENT, PYTHON, Reloading, Session, fetch, isn_of, load
from test_protect import scan
from topology import Direct, Protected

FAMILIES = pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
FRONT = Direct.FRONT
CLIENTS = (("10.2.0.101", "10.2.0.102", "10.2.0.103"), ("fd02::101", "fd02::102", "fd02::103"))


def service(name, port, more="", where="10.3.0.2 fd03::2", local=8000):
    backends = ", ".join(f'{{ address = "{address}"; port = {local + number}; }}'
                         for address in where.split() for number in (1, 2))
    return (f'{{ name = "{name}"; address = [ "{FRONT[0]}", "{FRONT[1]}" ]; port = {port}; '
            f'secret = "s"; backends = ( {backends} ); schedule = "round-robin"; {more} }}')


def config(*services):
    return f"services = ( {', '.join(services)} );\nqueues = {{ first = 40; count = 2; }};\n"


def start(net, text):
    net.daemon = Reloading(net.lab, net.gateway, text).start()
    return net.daemon


@pytest.fixture
def net(lab):
    net = Direct(lab)
    net.lab = lab
    for number in (1, 2):
        lab.nginx(net.server, 8000 + number, f"b{number}")
    for address in CLIENTS[0]:
        net.client.run(f"ip address add {address}/24 dev up0")
    for address in CLIENTS[1]:
        net.client.run(f"ip address add {address}/64 dev up0 nodad")
    return net


def established(namespace, ports):
    """How many connections with one of these ports at either end."""
    listing = namespace.run("ss -Hnt state established").stdout
    return sum(any(word.endswith(f":{port}") for word in line.split() for port in ports)
               for line in listing.splitlines())


def both_ends_are_gone(net, left=0):
    wait_until(lambda: established(net.client, [80, 81]) == left, what="clients to be reset")
    wait_until(lambda: established(net.server, [8001, 8002]) == left, what="servers to be reset")


def kicked(daemon, *arguments):
    row, = daemon.ask("kick", *arguments)
    assert row["service"] == arguments[0]
    return row["connections"]


@FAMILIES
@pytest.mark.parametrize("more", ["", "snat = true;", 'reject = "reset";', 'reject = "drop";'])
def test_idle_connections_end_on_both_sides(net, family, more):
    daemon = start(net, config(service("www", 80, more), service("other", 81)))
    sessions = [Session(net.client, FRONT[family], 80, "s", source=source)
                for source in CLIENTS[family]]
    stays = Session(net.client, FRONT[family], 81, "s")
    assert established(net.client, [80]) == 3 and established(net.server, [8001, 8002]) == 4
    assert {session.fetch() for session in sessions} == {"b1", "b2"} and stays.fetch() in ("b1", "b2")
    assert kicked(daemon, "www") == 3
    # Nobody has to send anything for that.
    both_ends_are_gone(net, left=1)
    assert [session.fetch() for session in sessions] == ["ConnectionResetError"] * 3
    assert stays.fetch() in ("b1", "b2")
    assert daemon.events(event="kicked", service="www", connections="3")
    # Nobody is locked out, and nothing is left to kick.
    assert fetch(net.client, FRONT[family], 80, "s") in ("b1", "b2")
    assert kicked(daemon, "www") == 0
    assert "refused" not in {event["event"] for event in daemon.events()}


@FAMILIES
def test_kick_some(net, family):
    daemon = start(net, config(service("www", 80)))
    first, second, third = (Session(net.client, FRONT[family], 80, "s", source=source)
                            for source in CLIENTS[family])
    assert [session.fetch() for session in (first, second, third)] == ["b1", "b2", "b1"]
    # By client.
    assert kicked(daemon, "www", CLIENTS[family][0]) == 1
    assert first.fetch() == "ConnectionResetError"
    assert (second.fetch(), third.fetch()) == ("b2", "b1")
    # By backend.
    backend = ("10.3.0.2:8002", "[fd03::2]:8002")[family]
    assert kicked(daemon, "www", backend) == 1
    assert second.fetch() == "ConnectionResetError" and third.fetch() == "b1"
    # By prefix; others stay.
    assert kicked(daemon, "www", ("10.2.0.0/26", "fd02::8000/114")[family]) == 0
    assert third.fetch() == "b1"
    assert kicked(daemon, "www", "192.0.2.1", ("10.2.0.96/27", "fd02::100/120")[family]) == 1
    assert third.fetch() == "ConnectionResetError"
    both_ends_are_gone(net)


def test_kick_one_of_several_of_a_client(net):
    daemon = start(net, config(service("www", 80)))
    sessions = [Session(net.client, FRONT[0], 80, "s", source=CLIENTS[0][0]) for _ in range(2)]
    listing = net.client.run("ss -Hnt state established").stdout.split()
    ends = [word for word in listing if word.startswith(CLIENTS[0][0])]
    assert len(ends) == 2
    assert kicked(daemon, "www", ends[0]) == 1
    both_ends_are_gone(net, left=1)
    assert sorted(session.fetch() for session in sessions)[0] == "ConnectionResetError"


@FAMILIES
def test_service_that_a_reload_removed(net, family):
    daemon = start(net, config(service("www", 80), service("other", 81)))
    session = Session(net.client, FRONT[family], 80, "s")
    stays = Session(net.client, FRONT[family], 81, "s")
    assert daemon.reload(config(service("other", 81))) is None
    assert session.fetch() in ("b1", "b2")
    assert kicked(daemon, "www") == 1
    both_ends_are_gone(net, left=1)
    assert session.fetch() == "ConnectionResetError" and stays.fetch() in ("b1", "b2")
    assert fetch(net.client, FRONT[family], 80, "s") == "ConnectionRefusedError"
    closed, unused = scan(net, "-sA", FRONT[family], [80, 4711])
    assert closed == unused


DOWNLOAD = """
import sys, knock_client as k
s = k.connect(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 20)
s.sendall(b"GET /big HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * 20)
got = 0
try:
    while data := s.recv(65536):
        if got == 0: print("running", flush=True)
        got += len(data)
    print("end")
except OSError as error: print(type(error).__name__)
"""


def download(net, address, port):
    process = net.client.start([PYTHON, "-c", DOWNLOAD, address, port, isn_of("s", address, port)],
                               env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "running\n"
    return process


@FAMILIES
def test_busy_connections(net, family):
    daemon = start(net, config(service("www", 80)))
    process = download(net, FRONT[family], 80)
    assert kicked(daemon, "www") == 1
    assert process.communicate(timeout=30)[0] == "ConnectionResetError\n"
    both_ends_are_gone(net)


@FAMILIES
def test_server_on_the_gateway(net, family):
    """Nobody can be made to speak on this host; its next segment is answered with an RST."""
    net.lab.nginx(net.gateway, 80, "here")
    text = f"""services = ( {{ name = "www"; address = [ "{Direct.GATEWAY[0]}", "{Direct.GATEWAY[1]}" ];
               port = 80; secret = "s"; }} ); queues = {{ first = 40; count = 1; }};"""
    daemon = start(net, text)
    process = download(net, Direct.GATEWAY[family], 80)
    idle = Session(net.client, Direct.GATEWAY[family], 80, "s")
    assert idle.fetch() == "here"
    assert kicked(daemon, "www") == 2
    assert process.communicate(timeout=30)[0] == "ConnectionResetError\n"
    wait_until(lambda: established(net.client, [80]) == 0, what="clients to be reset")
    assert idle.fetch() == "ConnectionResetError"
    wait_until(lambda: established(net.gateway, [80]) <= 1, what="the busy server to be reset")
    assert fetch(net.client, Direct.GATEWAY[family], 80, "s") == "here"


@FAMILIES
def test_client_behind_nat(lab, family):
    """The NAT's own connection tracking lets through what makes the client speak."""
    net = Protected(lab)
    net.lab = lab
    lab.nginx(net.server, 8001, "b1")
    lab.nginx(net.server, 8002, "b2")
    daemon = start(net, config(service("www", 80)))
    session = Session(net.client, FRONT[family], 80, "s")
    assert session.fetch() in ("b1", "b2")
    assert kicked(daemon, "www", ("10.2.0.2", "fd02::2")[family]) == 1
    both_ends_are_gone(net)
    assert session.fetch() == "ConnectionResetError"


def test_what_kick_says(net):
    daemon = start(net, config(service("www", 80)))
    session = Session(net.client, FRONT[0], 80, "s")
    for arguments, error in (
            (("web",), 'no service is or was named "web"'),
            (("www", "10.2.0.2", "nobody"), 'found "nobody", expected a client or backend'),
            (("www", "10.2.0.0/33"), 'found "10.2.0.0/33"'),
            (("www", "10.2.0.2/24"), 'found "10.2.0.2/24"'), (("www", "10.2.0.2:0"), "expected")):
        said = daemon.knockctl("kick", *arguments, check=False)
        assert said.returncode == 1 and said.stdout == "" and error in said.stderr
    assert daemon.knockctl("kick", check=False).returncode == 2
    assert daemon.knockctl("kick", "www", *["10.2.0.2"] * 8, check=False).returncode == 2
    assert session.fetch() in ("b1", "b2")
    assert daemon.knockctl("kick", "www", *["10.2.0.2"] * 7).stdout == \
        "SERVICE  CONNECTIONS\nwww                1\n"


PENDING = """
import sys, knock_client as k
s = k.connect(sys.argv[1], 80, int(sys.argv[2]), 20)
print("connected", flush=True)
try: print("data" if s.recv(1) else "end")
except OSError as error: print(type(error).__name__)
"""


@FAMILIES
@pytest.mark.parametrize("reassemble", ["false", "true"])
def test_connections_that_wait_for_their_check(net, family, reassemble):
    """Integrity mode, before the first byte: both sides of it are reset, too."""
    daemon = start(net, config(service("www", 80, f"integrity = 20; reassemble = {reassemble};")))
    isn = token(KNOCKCTL, "s", FRONT[family], 80, payload=b"x" * 20)
    process = net.client.start([PYTHON, "-c", PENDING, FRONT[family], isn], env=ENVIRONMENT,
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "connected\n"
    wait_until(lambda: established(net.server, [8001, 8002]) == 1, what="the server")
    status, = daemon.ask("status")
    assert status["pending"] == 1
    assert kicked(daemon, "www") == 1
    assert process.communicate(timeout=30)[0] == "ConnectionResetError\n"
    both_ends_are_gone(net)
    assert kicked(daemon, "www") == 0


MANY = 10000

SERVER = """
import resource, select, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (12000, 12000))
listener = socket.create_server((sys.argv[1], 8003), family=socket.AF_INET6 if ":" in sys.argv[1]
                                else socket.AF_INET, backlog=4096)
print("listening", flush=True)
held = []
while True:
    held.append(listener.accept()[0])
"""

HOLDER = """
import resource, socket, sys, time, knock_client as k
resource.setrlimit(resource.RLIMIT_NOFILE, (12000, 12000))
address, isn, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
held = [k.connect(address, 82, isn, 60) for _ in range(count)]
print("open", flush=True)
for line in sys.stdin:
    for s in held: s.settimeout(0)
    ended = 0
    for s in held:
        try:
            s.send(b"x")
            s.settimeout(20)
            ended += s.recv(1) == b""
        except ConnectionError: ended += 1
        except TimeoutError: pass
    print(ended, flush=True)
"""


def test_ten_thousand_connections(net):
    """It ends in bounded time, and all the while new connections of others are let in at once."""
    for namespace in (net.client, net.server):
        namespace.sysctl("net.ipv4.tcp_max_syn_backlog", 8192)
        namespace.sysctl("net.core.somaxconn", 8192)
    many = (f'{{ name = "many"; address = "{FRONT[0]}"; port = 82; secret = "s"; '
            f'backends = {{ address = "10.3.0.2"; port = 8003; }}; }}')
    daemon = start(net, config(service("other", 81), many))
    server = net.server.start([PYTHON, "-c", SERVER, "10.3.0.2"], stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "listening\n"
    net.client.sysctl("net.ipv4.ip_local_port_range", "2000 65535")
    holder = net.client.start([PYTHON, "-c", HOLDER, FRONT[0], isn_of("s", FRONT[0], 82), MANY],
                              env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    assert holder.stdout.readline() == "open\n"
    with load(net.client, FRONT[0], 81, isn_of("s", FRONT[0], 81), 2) as others:
        began = time.monotonic()
        assert kicked(daemon, "many") == MANY
        took = time.monotonic() - began
    print(f"{MANY} connections in {took:.1f} s, meanwhile {others}")
    # About a second on a machine that does nothing else.
    assert took < patient(20)
    assert set(others["answers"]) <= {"b1", "b2"} and sum(others["answers"].values()) > 0
    assert not others["slow_ones"]
    # Those that were not made to speak end with the next segment.
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == f"{MANY}\n"
    assert kicked(daemon, "many") == 0
