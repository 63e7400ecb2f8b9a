# SPDX-License-Identifier: GPL-2.0-or-later
"""The protect role with real servers behind it. The network is drawn in topology.py."""
import os
import pathlib
import signal
import subprocess

import pytest

import knock_client
from lab import KNOCKCTL, KNOCKGW, PYTHON, SOURCE, Daemon, wait_until
from reload import Session, load
from topology import Protected

CONFIG = """
services = (
  { name = "local";  address = [ "10.2.0.1", "fd02::1" ]; port = 80; secret = "local secret"; },
  { name = "ssh";    address = [ "10.2.0.10", "fd02::10" ]; port = [ 22, 2222 ];
    secret = "h:73736820736563726574";
    backends = ( { address = "10.3.0.2"; port = 22; }, { address = "fd03::2"; port = 22; } ); },
  { name = "routed"; address = [ "10.3.0.2", "fd03::2" ]; port = 80; secret = "routed secret"; }
);
queues = { first = 40; count = 2; };
"""
SECRETS = {"local": "local secret", "ssh": "ssh secret", "routed": "routed secret"}


@pytest.fixture
def net(lab):
    net = Protected(lab)
    net.lab = lab
    lab.nginx(net.gateway, 80, "page of the gateway")
    lab.nginx(net.server, 80, "page of the server")
    net.ssh_options = lab.sshd(net.server, 22)
    net.daemon = Daemon(lab, net.gateway, CONFIG).start()
    return net


def attempt(net, address, port, secret, request=b"GET / HTTP/1.0\r\n\r\n"):
    """What a client with that secret gets: the answer, or the error of connect()."""
    code = ("import sys, knock_client as k\n"
            "address, port, isn = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
            "try: s = k.connect(address, port, isn, 5)\n"
            "except OSError as e: print(type(e).__name__); sys.exit()\n"
            f"s.sendall({request!r}); print(s.makefile('rb').read().decode())\n")
    isn = knock_client.token(KNOCKCTL, secret, address, port)
    return net.client.run([PYTHON, "-c", code, address, port, isn],
                          env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}).stdout


def forwarder(net, address, port, secret, listen):
    process = net.client.start(
        [PYTHON, SOURCE / "tests/system/knock_client.py", "--knockctl", KNOCKCTL,
         "--listen", listen, address, port],
        env={**os.environ, "KNOCK_SECRET": secret}, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "listening\n"
    return process


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_right_secret_opens_and_others_do_not(net, family):
    local, routed = Protected.GATEWAY[family], Protected.SERVER[family]
    assert "page of the gateway" in attempt(net, local, 80, SECRETS["local"])
    assert "page of the server" in attempt(net, routed, 80, SECRETS["routed"])
    # Wrong secret, the secret of another service, and no secret at all.
    assert attempt(net, local, 80, "guessed") == "ConnectionRefusedError\n"
    assert attempt(net, local, 80, SECRETS["routed"]) == "ConnectionRefusedError\n"
    assert attempt(net, routed, 80, SECRETS["local"]) == "ConnectionRefusedError\n"
    url = f"http://[{local}]/" if family else f"http://{local}/"
    assert net.client.run(["curl", "-sS", "-m", "5", url], check=False).returncode == 7
    assert net.daemon.events(event="refused", reason="token-wrong")
    assert net.daemon.events(event="verified", service="local", key="1")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_token_is_bound_to_the_port(net, family):
    front = Protected.FRONT[family]
    isn = knock_client.token(KNOCKCTL, SECRETS["ssh"], front, 22)
    code = ("import sys, knock_client as k\n"
            "try: k.connect(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 5); print('open')\n"
            "except OSError as e: print(type(e).__name__)\n")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}
    run = lambda port: net.client.run([PYTHON, "-c", code, front, port, isn], env=environment).stdout
    assert run(2222) == "ConnectionRefusedError\n"
    assert run(22) == "open\n"


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_curl_and_ssh_through_a_relay(net, family):
    forwarder(net, Protected.SERVER[family], 80, SECRETS["routed"], 8080)
    assert net.client.run("curl -sS http://127.0.0.1:8080/").stdout == "page of the server"
    forwarder(net, Protected.FRONT[family], 22, SECRETS["ssh"], 8022)
    said = net.client.run(["ssh", *net.ssh_options, "-p", 8022, "root@127.0.0.1",
                           "echo $SSH_CONNECTION"]).stdout.split()
    # The server sees who the client is, on the gateway's side of the NAT.
    assert said[0] == ("fd02::2" if family else "10.2.0.2")


def test_verified_connection_is_forwarded_by_the_kernel_alone(net):
    forwarder(net, Protected.SERVER[0], 80, SECRETS["routed"], 8080)
    before = net.daemon.queued_packets()
    size = net.client.run("curl -sS -o /dev/null -w %{size_download} http://127.0.0.1:8080/big")
    assert size.stdout == "100000000"
    assert net.daemon.queued_packets() - before <= 2


def open_relay(net, secret, address, port):
    """A relay over stdin and stdout: a connection that a test can hold open."""
    return net.client.start(
        [PYTHON, SOURCE / "tests/system/knock_client.py", "--knockctl", KNOCKCTL, address, port],
        env={**os.environ, "KNOCK_SECRET": secret}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_daemon_away_is_a_closed_port(net, end):
    relay = open_relay(net, SECRETS["ssh"], Protected.FRONT[0], 22)
    assert relay.stdout.readline().startswith(b"SSH-2.0")
    getattr(net.daemon, end)()
    for family in (0, 1):
        for address, port, secret in ((Protected.GATEWAY, 80, "local"), (Protected.FRONT, 22, "ssh"),
                                      (Protected.SERVER, 80, "routed")):
            assert attempt(net, address[family], port, SECRETS[secret]) == "ConnectionRefusedError\n"
    # What was verified goes on: sshd answers the client's greeting with its key exchange.
    relay.stdin.write(b"SSH-2.0-test\r\n")
    relay.stdin.flush()
    assert relay.stdout.read(1)
    # A stale table is replaced by the next start.
    net.daemon.start()
    assert "page of the gateway" in attempt(net, Protected.GATEWAY[0], 80, SECRETS["local"])


def test_table_that_a_stop_leaves_can_be_removed(net):
    """That one alone; again is no error."""
    net.gateway.nft("table inet foreign { chain c { type filter hook input priority 0; }; }")
    before = net.gateway.run("nft list table inet foreign").stdout
    assert "inet knockgw" in net.gateway.run("nft list tables").stdout
    assert net.daemon.stop() == 0
    assert net.daemon.events(event="ruleset-kept", to_remove="knockgw --remove-ruleset")
    assert "inet knockgw" in net.gateway.run("nft list tables").stdout
    for _ in range(2):
        net.gateway.run([KNOCKGW, "--remove-ruleset"])
    assert "knockgw" not in net.gateway.run("nft list tables").stdout
    assert "page of the gateway" in attempt(net, Protected.GATEWAY[0], 80, "another secret")
    assert net.gateway.run("nft list table inet foreign").stdout == before


def test_second_daemon_in_the_same_namespace_gives_up(net):
    second = Daemon(net.lab, net.gateway, CONFIG).start(wait=False)
    assert second.process.wait(timeout=20) == 1
    assert "queue 40: in use by another process" in second.log()
    assert "page of the gateway" in attempt(net, Protected.GATEWAY[0], 80, SECRETS["local"])


def test_pre_existing_connection_does_not_outlive_the_start(net):
    """A connection that was open before the table stood was never verified."""
    net.daemon.stop()
    with_nobody = net.client.start(["nc", "10.3.0.2", "22"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
    assert with_nobody.stdout.readline().startswith(b"SSH-2.0")
    Daemon(net.lab, net.gateway, CONFIG.replace('port = 80; secret = "routed',
                                                'port = 22; secret = "routed')).start()
    with_nobody.stdin.write(b"SSH-2.0-test\r\n")
    with_nobody.stdin.flush()
    assert with_nobody.stdout.read() == b""


def test_address_of_the_gateway_from_the_gateway_itself(net):
    """Local connections go over lo, where NAT is over before this table is asked."""
    assert net.gateway.run("curl -sS -m 5 http://10.2.0.1/", check=False).returncode == 7
    assert net.gateway.run("curl -sS -m 5 http://[fd02::1]/", check=False).returncode == 7


def flood(net, address, port, count):
    """A bounded number of SYNs with random ISNs, from random ports."""
    code = ("import sys, random\n"
            "from scapy.all import IP, TCP, L3RawSocket, conf\n"
            "conf.verb = 0\n"
            "s = L3RawSocket(iface='up0')\n"
            "for i in range(int(sys.argv[3])):\n"
            "    s.send(IP(src='10.1.0.2', dst=sys.argv[1]) / TCP(sport=1024 + i % 60000,\n"
            "           dport=int(sys.argv[2]), flags='S', seq=random.getrandbits(32)))\n")
    net.client.run([PYTHON, "-c", code, address, port, count])


def test_overload_opens_nothing(net):
    # Without its NAT every SYN of the flood is a connection of its own for the gateway.
    net.gateway.run("ip route add 10.1.0.0/24 via 10.2.0.2")
    net.nat.run("nft delete table inet nat")
    net.daemon.process.send_signal(signal.SIGSTOP)
    try:
        flood(net, "10.2.0.1", 80, 20000)
        # Nobody judges, so nobody is let in: the queue is full and drops.
        assert attempt(net, "10.2.0.1", 80, SECRETS["local"]) == "TimeoutError\n"
        assert "page" not in attempt(net, "10.2.0.1", 80, "guessed")
    finally:
        net.daemon.process.send_signal(signal.SIGCONT)
    wait_until(lambda: "page of the gateway" in attempt(net, "10.2.0.1", 80, SECRETS["local"]),
               what="an authorised client after the overload")
    net.daemon.wait_event(event="queue-overrun")
    assert len(net.daemon.events(event="verified")) < 10


def test_retransmitted_syn_of_a_refused_tuple(net):
    """An authorised SYN on a tuple that was refused before gets through all the same."""
    code = ("import sys, knock_client as k\n"
            "for isn in sys.argv[2:]:\n"
            "    try: k.connect(sys.argv[1], 80, int(isn), 10, 40000); print('open')\n"
            "    except OSError as e: print(type(e).__name__)\n")
    right = knock_client.token(KNOCKCTL, SECRETS["local"], "10.2.0.1", 80)
    said = net.client.run([PYTHON, "-c", code, "10.2.0.1", right ^ 1, right],
                          env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}).stdout
    assert said == "ConnectionRefusedError\nopen\n"


def test_bad_configuration_changes_nothing(net):
    bad = net.lab.file("bad.conf", CONFIG.replace('port = 80;', 'port = 70000;', 1))
    tables = net.gateway.run("nft list ruleset").stdout
    for arguments in (["--check"], ["--foreground"], []):
        result = net.gateway.run([KNOCKGW, "--config", bad, *arguments], check=False)
        assert result.returncode == 2
        assert f"{bad}:3: " in result.stderr and "expected 1 to 65535" in result.stderr
        assert "secret" not in result.stderr.replace("services", "")
    assert net.gateway.run("nft list ruleset").stdout == tables


def test_background_start_and_signals(net):
    net.daemon.stop()
    assert net.gateway.run([KNOCKGW, "--config", net.daemon.config]).returncode == 0
    assert "inet knockgw" in net.gateway.run("nft list tables").stdout
    # The daemon has left our process tree, but not the namespace.
    mine = net.gateway.run(["pgrep", "--ns", os.getpid(), "--nslist", "pid", "-f",
                            str(net.daemon.config)], check=False).stdout.split()
    mine = [pid for pid in mine if os.readlink(f"/proc/{pid}/exe") == os.path.realpath(KNOCKGW)]
    assert len(mine) == 1
    os.kill(int(mine[0]), signal.SIGTERM)
    wait_until(lambda: not pathlib.Path(f"/proc/{mine[0]}").exists(), what="the end of the daemon")


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
def test_restart_opens_no_port(net, family):
    """Whoever holds no secret gets in at no moment."""
    addresses = (Protected.GATEWAY[family], Protected.SERVER[family])
    session = Session(net.client, Protected.SERVER[family], 80, SECRETS["routed"])
    assert session.fetch() == "page of the server"
    with load(net.client, addresses[0], 80, "wrong", 1) as local, \
            load(net.client, addresses[1], 80, "wrong", 1) as routed:
        for _ in range(5):
            assert net.daemon.stop() == 0
            assert net.daemon.events(event="ruleset-kept")
            assert session.fetch() == "page of the server"
            net.daemon.log_path.write_text("")
            net.daemon.start()
            # On a fast machine all restarts are over before many have tried.
            wait_until(lambda: all(
                sum(address in event["destination"] for event in net.daemon.events(event="refused")) > 10
                for address in addresses), what="refused connections")
    for result in (local, routed):
        assert set(result["answers"]) == {"ConnectionRefusedError"}, result
        assert result["answers"]["ConnectionRefusedError"] > 50
    assert "page of the server" in attempt(net, addresses[1], 80, SECRETS["routed"])
    assert session.fetch() == "page of the server"


SCANS = ("-sS", "-sT", "-sF", "-sN", "-sX", "-sA", "-sW", "-sM")


def scan(net, kind, address, ports):
    """What nmap says about each of the ports, without the name that the number usually has."""
    family = ["-6"] if ":" in address else []
    output = net.client.run(["nmap", "-n", "-Pn", "--reason", "--max-retries", "2", kind, *family,
                             "-p", ",".join(map(str, ports)), address]).stdout
    lines = [line.split() for line in output.splitlines() if "/tcp " in line]
    assert len(lines) == len(ports), output
    return [[words[1]] + words[3:] for words in lines]


@pytest.mark.parametrize("kind", SCANS)
def test_nmap_sees_an_unused_port(net, kind):
    for family in (0, 1):
        for address, port in ((Protected.GATEWAY[family], 80), (Protected.FRONT[family], 22),
                              (Protected.SERVER[family], 80)):
            protected, unused = scan(net, kind, address, [port, 4711])
            assert protected == unused
