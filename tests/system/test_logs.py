# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon logs about those whom it refuses, in both forms, and what fail2ban makes of it.

client ---------- gateway ----------- server        (Direct in topology.py)

gateway runs knockgw; client connects to its services with right and with wrong tokens.
"""
import json
import os
import re
import shutil
import subprocess

import pytest

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE, Daemon, wait_until
from topology import Direct

DOCS = SOURCE / "docs/fail2ban"
CONFIG = """services = (
  { name = "web"; address = [ "10.2.0.10", "fd02::10" ]; port = 80; secret = "first";
    backends = ( { address = "10.3.0.2"; }, { address = "fd03::2"; } ); },
  { name = "safe"; address = [ "10.3.0.2", "fd03::2" ]; port = 80; secret = "second"; integrity = 16; }
);
queues = { first = 40; count = 1; };
"""

CONNECT = """
import sys, knock_client as k
try:
    s = k.connect(sys.argv[1], 80, int(sys.argv[2]), 10)
    s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); s.recv(1); print('open')
except OSError as e: print(type(e).__name__)
"""

PAYLOAD = b"GET / HTTP/1.0\r\n"


@pytest.fixture
def net(lab):
    net = Direct(lab)
    net.lab = lab
    lab.nginx(net.server, 80, "a page")
    return net


def start(net, log=""):
    net.daemon = Daemon(net.lab, net.gateway, CONFIG + log).start()
    return net.daemon


def connect(net, address, isn):
    return net.client.run([PYTHON, "-c", CONNECT, address, isn],
                          env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}).stdout.strip()


def attempts(net):
    """One right connection, and refused ones of each kind, over both families."""
    for front, server in zip(Direct.FRONT, Direct.SERVER):
        right = knock_client.token(KNOCKCTL, "first", front, 80)
        assert connect(net, front, right) == "open"
        assert connect(net, front, right ^ 0x10000) == "ConnectionRefusedError"
        # A token for other bytes than those that come.
        other = knock_client.token(KNOCKCTL, "second", server, 80, b"POST / HTTP/1.0\r")
        assert connect(net, server, other) == "ConnectionResetError"
        assert connect(net, server, knock_client.token(KNOCKCTL, "second", server, 80, PAYLOAD)) == "open"


SEEN = [("verified", "web", "token-valid"), ("refused", "web", "token-wrong"),
        ("reset", "safe", "payload-wrong"), ("verified", "safe", "payload-valid")] * 2


def objects(daemon):
    return [json.loads(line) for line in daemon.log().splitlines() if line.startswith("{")]


def decided(events):
    return [(event["event"], event["service"], event["reason"]) for event in events
            if event["event"] in ("verified", "refused", "reset")]


def test_one_line_for_each_refusal(net):
    daemon = start(net)
    attempts(net)
    assert decided(daemon.events()) == SEEN
    for event in daemon.events(event="refused") + daemon.events(event="reset"):
        assert re.fullmatch(r"10\.2\.0\.2:\d+|\[fd02::2\]:\d+", event["source"])
        assert event["destination"] in ("10.2.0.10:80", "[fd02::10]:80", "10.3.0.2:80", "[fd03::2]:80")
        assert event["level"] == "info" and event["interface"] == "out0"


def test_json_lines_say_the_same(net):
    daemon = start(net)
    attempts(net)
    daemon.stop()
    text = [{key: value for key, value in event.items()} for event in daemon.events()]
    daemon = start(net, 'log = { format = "json"; };\n')
    attempts(net)
    daemon.stop()
    lines = [line for line in daemon.log().splitlines() if not line.startswith("knockgw: ")]
    events = [json.loads(line) for line in lines]
    assert decided(events) == SEEN
    # The same events in the same order, with the same fields; JSON adds the time.
    assert [event["event"] for event in events] == [event["event"] for event in text]
    for one, other in zip(events, text):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", one.pop("time"))
        assert list(sorted(one)) == list(sorted(other))
    stopped = next(event for event in events if event["event"] == "stopped")
    assert stopped["status"] == 0
    assert all(isinstance(event.get("key", ""), str) for event in events)


MANY_HEADERS = """
import socket
from scapy.all import IPv6, IPv6ExtHdrDestOpt, TCP
packet = IPv6(src='fd02::2', dst='fd02::10')
for number in range(17):
    packet /= IPv6ExtHdrDestOpt()
raw = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.sendto(bytes(packet / TCP(sport=4000, dport=80, flags='S')), ('fd02::10', 0))
"""


def test_unreadable_packets_are_told(net):
    """A SYN behind more extension headers than the daemon steps over."""
    daemon = start(net)
    net.client.run([PYTHON, "-c", MANY_HEADERS])
    event, = daemon.wait_event(event="refused")
    assert event["reason"] == "malformed" and event["service"] == "-"
    assert (event["source"], event["destination"]) == ("fd02::2", "fd02::10")


def test_journald_gets_priorities(net):
    made = Daemon(net.lab, net.gateway, CONFIG)
    log = open(made.log_path, "a", encoding="utf-8")
    with log:
        status = os.fstat(log.fileno())
        process = net.gateway.start([made.program, "--foreground", "--config", made.config], stderr=log,
                                    env={**os.environ, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    wait_until(lambda: "knockgw: ready" in made.log(), what="knockgw: ready")
    process.terminate()
    assert process.wait(timeout=20) == 0
    lines = [line for line in made.log().splitlines() if "level=" in line]
    numbers = {"error": 3, "warning": 4, "info": 6, "debug": 7}
    for line in lines:
        level = re.search(r"level=(\w+)", line).group(1)
        assert line.startswith(f"<{numbers[level]}>knockgw: level=")
    assert len(lines) > 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_swallowed_lines_are_counted(net, form):
    daemon = start(net, f'log = {{ format = "{form}"; }};\n')
    net.client.run([PYTHON, SOURCE / "tests/system/syn_flood.py", "10.2.0.2", "10.2.0.10", 80, 1000])
    wait_until(lambda: sum(row["packets"] for row in daemon.ask("stats") if row["kind"] == "packets" and
                           row["service"] == "web" and row["key"] == "") == 1000,
               what="all SYNs to be judged")
    daemon.stop()
    events = objects(daemon) if form == "json" else daemon.events()
    told = [event for event in events if event["event"] == "refused"]
    swallowed = [event for event in events if event["event"] == "suppressed" and event["what"] == "refused"]
    assert swallowed and len(told) < 500
    assert len(told) + sum(int(event["lines"]) for event in swallowed) == 1000
    assert all(event["level"] == "warning" for event in swallowed)


def test_level_leaves_out_refusals(net):
    daemon = start(net, 'log = { level = "warning"; };\n')
    assert connect(net, "10.2.0.10", 12345) == "ConnectionRefusedError"
    assert not daemon.events(event="refused")
    assert daemon.ask("services")[0]["refused"] == 1


def test_document_names_every_event_and_reason():
    document = (SOURCE / "docs/logs.md").read_text()

    def rows(text):
        """The words in the first column of its tables."""
        return {word for row in re.findall(r"(?m)^\| (`[^|]*) \|", text)
                for word in re.findall(r"`([a-z-]+)`", row)}

    before, documented_reasons = map(rows, document.split("\n## Reasons\n"))
    reasons = set(re.findall(r'X\(\w+, "([a-z-]+)"', (SOURCE / "src/core/reason.h").read_text()))
    events = set()
    for path in (SOURCE / "src/io").glob("*.c"):
        text = path.read_text()
        for call in re.findall(r"log_(?:event|fate)\(([^;]*);", text):
            # In front of the format, which has a key in it or ends there.
            for quoted in re.findall(r'"([^"]*)"', call):
                if re.search("[= %]", quoted):
                    break
                events.add(quoted)
        events |= set(re.findall(r'event = "([a-z-]+)";', text))
        for table in re.findall(r"events\[\] = \{([^}]*)\}", text):
            events |= set(re.findall(r'"([a-z-]+)"', table))
    assert {"refused", "needs-restart", "given-up", "looked-up", "backend-undrained"} <= events
    assert not events - before, events - before
    assert not before - events - FIELDS - {"suppressed", "forbidden-system-call"}
    # An event and a reason may have the same name.
    assert reasons - documented_reasons == {"none"}
    assert not documented_reasons - reasons


FIELDS = {"level", "event", "service", "egress", "source", "destination", "interface", "key", "reason",
          "role", "action"}


def matched(path):
    """The addresses that fail2ban takes from a log, sorted."""
    said = subprocess.run(["fail2ban-regex", "-v", path, DOCS / "knockgw.conf"],
                          capture_output=True, text=True, check=False).stdout
    hits = said[said.index("Failregex: "):said.index("Ignoreregex: ")]
    return sorted(re.findall(r"(?m)^\|      (\S+)  ", hits))


WANTED = sorted(["10.2.0.2", "fd02::2"] * 2)


def test_fail2ban_reads_both_forms(net):
    daemon = start(net)
    attempts(net)
    daemon.stop()
    assert matched(daemon.log_path) == WANTED
    # The same lines as syslog writes them down.
    for prefix in ("Nov 25 04:00:01 gw knockgw[123]: ", "2026-11-25T04:00:01.123456+00:00 gw knockgw[123]: ",
                   "Nov 25 04:00:01 gw knockgw[123]: knockgw: "):
        lines = daemon.log().replace("knockgw: level", prefix + "level")
        assert matched(net.lab.file("syslog", lines)) == WANTED
    daemon = start(net, 'log = { format = "json"; };\n')
    attempts(net)
    daemon.stop()
    assert matched(daemon.log_path) == WANTED
    lines = re.sub(r"(?m)^\{", "Nov 25 04:00:01 gw knockgw[123]: {", daemon.log())
    assert matched(net.lab.file("syslog", lines)) == WANTED


def test_fail2ban_is_not_fooled(lab):
    """Lines that are no refusals, or that hold one only inside a value."""
    lines = """\
knockgw: level=info event=verified service=web source=10.2.0.9:1 destination=10.2.0.10:80 interface=x reason=token-valid key=1
knockgw: level=info event=refused service=web source=10.2.0.9:1 destination=10.2.0.10:80 interface=x reason=no-connection
knockgw: level=error event=start-failed reason="event=refused service=web source=10.2.0.9:1 destination=x interface=x reason=token-wrong"
sshd[1]: level=info event=refused service=web source=10.2.0.9:1 destination=10.2.0.10:80 interface=x reason=token-wrong
Nov 25 04:00:01 gw sshd[1]: knockgw: level=info event=refused service=web source=10.2.0.9:1 destination=10.2.0.10:80 interface=x reason=token-wrong
Nov 25 04:00:01 gw sshd[1]: {"time":"2026-11-25T04:00:01.1Z","level":"info","event":"refused","service":"web","source":"10.2.0.9:1","destination":"10.2.0.10:80","interface":"x","reason":"token-wrong"}
{"time":"2026-11-25T04:00:01.1Z","level":"error","event":"x","reason":"\\"event\\":\\"refused\\",\\"source\\":\\"10.2.0.9:1\\""}
"""
    assert matched(lab.file("lines", lines)) == []


def test_fail2ban_takes_the_jail(lab):
    folder = lab.folder / "fail2ban"
    shutil.copytree("/etc/fail2ban", folder)
    shutil.copy(DOCS / "knockgw.conf", folder / "filter.d/knockgw.conf")
    jail = (DOCS / "jail.conf").read_text()
    assert "enabled = false" in jail
    # The jails that Debian switches on need logs that are not here.
    for other in (folder / "jail.d").iterdir():
        other.unlink()
    (folder / "jail.d/knockgw.conf").write_text(jail.replace("enabled = false", "enabled = true"))
    tested = subprocess.run(["fail2ban-client", "-c", folder, "-d"], capture_output=True, text=True,
                            check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "'knockgw'" in tested.stdout and "token-wrong" in tested.stdout
