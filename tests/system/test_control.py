# SPDX-License-Identifier: GPL-2.0-or-later
"""knockctl and the control socket of a running daemon.

client ---------- gateway ----------- server        (Direct in topology.py)

gateway runs knockgw; client connects to its service "web" with the right secret and with wrong ones.
"""
import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import socket
import stat
import subprocess
import time

import pytest

import knock_client
from lab import KNOCKCTL, PYTHON, SOURCE, Daemon, wait_until
from topology import Direct

GOLDEN = SOURCE / "tests/data/control"
CONFIG = """services = (
  { name = "web"; address = [ "10.2.0.10", "fd02::10" ]; port = 80; secret = [ "first", "second" ];
    backends = ( { address = "10.3.0.2"; port = 80; weight = 3; }, { address = "fd03::2"; port = 80; } ); },
  { name = "local"; address = "10.2.0.1"; port = [ 22, 2222 ]; secret = "third"; integrity = 16; }
);
egress = ( { name = "branch"; destination = [ "198.51.100.0/24", "198.51.101.1" ]; port = 443;
             secret = "fourth"; } );
queues = { first = 40; count = 1; };
"""

CONNECT = """
import sys, knock_client as k
for isn in sys.argv[3:]:
    try: k.connect(sys.argv[1], int(sys.argv[2]), int(isn), 10).close(); print('open')
    except OSError as e: print(type(e).__name__)
"""


@pytest.fixture
def net(lab):
    net = Direct(lab)
    net.lab = lab
    lab.nginx(net.server, 80, "a page")
    net.daemon = daemon(net, CONFIG).start()
    return net


def daemon(net, config, **control):
    made = Daemon(net.lab, net.gateway, config + f'state_directory = "{net.lab.folder}/state";\n')
    if control:
        more = "".join(f' {key} = "{value}";' for key, value in control.items())
        text = made.config.read_text().replace('.sock"; }', f'.sock";{more} }}')
        made.config.write_text(text)
    return made


def connect(net, *isns, address="10.2.0.10", port=80):
    said = net.client.run([PYTHON, "-c", CONNECT, address, port, *isns],
                          env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")})
    return said.stdout.split()


def right(secret="first", address="10.2.0.10", port=80):
    return knock_client.token(KNOCKCTL, secret, address, port)


def raw(net, request=b""):
    """A connection to the socket that has sent some bytes."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(net.daemon.control))
    client.settimeout(20)
    client.sendall(request)
    return client


def answer(client):
    said = b""
    with client:
        while data := client.recv(65536):
            said += data
    return [json.loads(line) for line in said.splitlines()]


def check_golden(name, said, **replaced):
    """Compares with a file; KNOCKGW_TEST_UPDATE=1 writes it instead."""
    for pattern, text in replaced.values():
        said = re.sub(pattern, text, said)
    path = GOLDEN / name
    if os.environ.get("KNOCKGW_TEST_UPDATE"):
        path.write_text(said)
    assert said == path.read_text()


def test_tables(net):
    assert connect(net, right(), right("second"), right() ^ 1, right("third")) == \
        ["open", "open", "ConnectionRefusedError", "ConnectionRefusedError"]
    for command in ("services", "backends", "stats", "flows"):
        said = net.daemon.knockctl(command).stdout
        check_golden(f"{command}.expected", said, time=(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", "TIME" + 16 * "_"))
        assert not re.search(r" +$", said, re.M)
    check_golden("status.expected", net.daemon.knockctl("status").stdout,
                 version=(r"(?m)^knockgw: .*", "knockgw:        VERSION, process PID, up TIME"),
                 file=(r"(?m)^configuration: .*", "configuration:  FILE, read TIME, file changed TIME ago"),
                 ruleset=(r"(?m)^ruleset: .*", "ruleset:        QUEUE"))


def test_json_has_the_same(net):
    connect(net, right(), right() ^ 1)
    status, = net.daemon.ask("status")
    assert os.readlink(f"/proc/{status['pid']}/exe") == os.path.realpath(net.daemon.program)
    assert status["configuration"]["file"] == str(net.daemon.config)
    assert status["configuration"]["changed_since"] is False
    assert status["ruleset"] in ("native", "xtables") and status["services"] == 2
    assert {queue["role"] for queue in status["queues"]} == {"protect", "egress"}
    web, local, branch = net.daemon.ask("services")
    assert web["endpoints"] == ["10.2.0.10:80", "[fd02::10]:80"] and web["keys"] == 2
    assert (web["authorised"], web["refused"]) == (1, 1)
    assert local["integrity"] == 16 and local["endpoints"] == ["10.2.0.1:22", "10.2.0.1:2222"]
    assert branch["role"] == "egress"
    assert branch["endpoints"] == ["198.51.100.0/24 port 443", "198.51.101.1:443"]
    backends = net.daemon.ask("backends")
    assert [(row["service"], row["backend"], row["weight"]) for row in backends] == \
        [("web", "10.3.0.2:80", 3), ("web", "[fd03::2]:80", 1)]
    assert all(time.time() - 60 < row["since"] <= time.time() for row in backends)
    assert {(row["last_error"], row["last_error_time"]) for row in backends} == {(None, None)}
    stats = net.daemon.ask("stats")
    assert {"kind": "packets", "role": "protect", "service": "web", "key": "1",
            "reason": "token-valid", "packets": 1} in stats
    assert {"kind": "verdicts", "role": "protect", "service": "web", "key": "",
            "verdict": "reject", "packets": 1} in stats
    assert net.daemon.ask("flows") == []


def test_changed_file_is_told(net):
    os.utime(net.daemon.config, (time.time() + 60, time.time() + 60))
    assert "the file has changed since" in net.daemon.knockctl("status").stdout
    net.daemon.config.unlink()
    assert "the file is gone" in net.daemon.knockctl("status").stdout


def test_exit_statuses(net):
    assert net.daemon.knockctl("status", "--wrong", check=False).returncode == 2
    assert net.daemon.knockctl("status", "more", check=False).returncode == 2
    assert net.daemon.knockctl("monitor", "loud", check=False).returncode == 2
    net.daemon.stop()
    assert not net.daemon.control.exists()
    for command in ("status", "services", "backends", "stats", "monitor", "reload"):
        gone = net.daemon.knockctl(command, check=False)
        assert gone.returncode == 1
        assert f"the daemon is not running: nobody listens on {net.daemon.control}" in gone.stderr
        assert gone.stdout == ""
    # The flows are in files, and there without the daemon.
    assert net.daemon.knockctl("flows", "--state-directory", f"{net.lab.folder}/state").stdout
    for command in ("status", "services", "backends", "flows", "stats", "monitor", "reload", "drain",
                    "undrain", "kick"):
        helped = net.daemon.knockctl(command, "--help")
        assert helped.stdout.startswith(f"Usage: knockctl {command} ")
        assert max(map(len, helped.stdout.splitlines())) <= 100


def test_reload(net):
    connect(net, right())
    added = ' { name = "more"; address = "10.2.0.1"; port = 8080; secret = "fifth"; },'
    config = net.daemon.config.read_text()
    net.daemon.config.write_text(config.replace("services = (", "services = (" + added))
    assert net.daemon.knockctl("reload").stdout == "reloaded\n"
    # Names that stay count on.
    assert [(row["service"], row["authorised"]) for row in net.daemon.ask("services")] == \
        [("more", 0), ("web", 1), ("local", 0), ("branch", 0)]
    assert connect(net, right("fifth", "10.2.0.1", 8080) ^ 1, address="10.2.0.1", port=8080) == \
        ["ConnectionRefusedError"]
    assert net.daemon.ask("services")[0]["refused"] == 1
    assert net.daemon.ask("status")[0]["configuration"]["reloads"] == 1
    # What is no longer in the file is no longer listed.
    net.daemon.config.write_text(config)
    assert net.daemon.ask("reload") == [{"reloaded": True, "needs_restart": []}]
    assert [row["service"] for row in net.daemon.ask("services")] == ["web", "local", "branch"]
    assert net.daemon.ask("status")[0]["services"] == 2


def test_what_needs_a_restart_is_told_each_time(net):
    more = net.lab.file("more.inc", f'metrics = {{ listen = "{net.lab.folder}/metrics.sock"; }};\n')
    text = net.daemon.config.read_text()
    changed = text.replace("queues = { first = 40; count = 1; };",
                           '@include "more.inc"\nmax_held = 9;\nqueues = { first = 40; count = 1; };')
    changed = changed.replace('.sock"; }', '.sock"; mode = "0666"; }').replace("\"root\"", '"daemon"')
    lines = {key: next(number for number, line in enumerate(changed.splitlines(), 1)
                       if line.startswith(key)) for key in ("max_held", "user", "control")}
    places = {key: f"{net.daemon.config}:{line}" for key, line in lines.items()}
    places["metrics"] = f"{more}:1"
    net.daemon.config.write_text(changed)
    for times in (1, 2, 3):
        said = net.daemon.knockctl("reload")
        assert said.stdout == "reloaded\n"
        assert set(said.stderr.splitlines()) == {
            f"knockctl reload: {place}: {key} has changed, which needs a restart; the old value "
            "stays until then" for key, place in places.items()}
        for key, place in places.items():
            assert len(net.daemon.events(event="needs-restart", key=key, place=place)) == times
    said = net.daemon.ask("reload")[0]
    assert {row["key"]: row["place"] for row in said["needs_restart"]} == places
    assert "wait for a restart: max_held, user, control, metrics\n" in net.daemon.knockctl("status").stdout
    assert stat.S_IMODE(net.daemon.control.stat().st_mode) == 0o600
    assert not (net.lab.folder / "metrics.sock").exists()
    # The old values again: nothing is left to say.
    net.daemon.config.write_text(text)
    assert net.daemon.knockctl("reload").stderr == ""
    assert net.daemon.ask("status")[0]["configuration"]["needs_restart"] == []
    # And after a restart the new ones hold.
    net.daemon.config.write_text(changed.replace('"daemon"', '"root"'))
    assert net.daemon.stop() == 0
    net.daemon.start()
    assert stat.S_IMODE(net.daemon.control.stat().st_mode) == 0o666
    assert (net.lab.folder / "metrics.sock").exists()


def test_failed_reload_changes_nothing(net):
    net.daemon.config.write_text(net.daemon.config.read_text().replace("port = 80", "port = 80000", 1))
    failed = net.daemon.knockctl("reload", check=False)
    assert failed.returncode == 1 and failed.stdout == ""
    assert failed.stderr.startswith("knockctl reload: ") and failed.stderr.count("\n") == 1
    assert "the last reload failed" in net.daemon.knockctl("status").stdout
    assert connect(net, right()) == ["open"]


def test_socket_of_an_unprivileged_daemon(net):
    """The socket gets its group before the daemon becomes a user who could not give it."""
    net.daemon.stop()
    net.daemon = Daemon(net.lab, net.gateway, CONFIG + f'''state_directory = "{net.lab.folder}/other";
user = "nobody"; control = {{ socket = "{net.lab.folder}/sockets/control"; group = "daemon"; }};\n''')
    net.daemon.control = net.lab.folder / "sockets/control"
    for _ in range(2):
        net.daemon.start()
        status = pathlib.Path(f"/proc/{net.daemon.process.pid}/status").read_text()
        assert re.search(r"^Uid:\t65534\t65534", status, re.M)
        assert net.daemon.control.stat().st_gid == 1
        assert as_user(net, "1").returncode == 0
        # The user that the daemon runs as is allowed, but the file is not theirs.
        assert "permission denied" in as_user(net).stderr
        net.daemon.kill()


def as_user(net, *groups):
    """knockctl status as a user who is not root, in these groups."""
    words = ["setpriv", "--reuid=65534", "--regid=65534",
             f"--groups={','.join(groups)}" if groups else "--clear-groups"]
    return net.gateway.run([*words, KNOCKCTL, "status", "--json", "--socket", net.daemon.control],
                           check=False)


def restart(net, **control):
    net.daemon.stop()
    net.daemon = daemon(net, CONFIG, **control).start()
    return net.daemon


def test_only_root_by_default(net):
    mode = net.daemon.control.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    refused = as_user(net)
    assert refused.returncode == 1 and "permission denied, expected root or a member" in refused.stderr


def test_members_of_the_group(net):
    restart(net, group="daemon")
    status = net.daemon.control.stat()
    assert stat.S_IMODE(status.st_mode) == 0o660 and status.st_gid == 1
    assert as_user(net, "1").returncode == 0
    assert as_user(net, "2,1,3").returncode == 0
    assert "permission denied" in as_user(net, "2").stderr


def test_mode_alone_opens_nothing(net):
    """Who may connect is asked for by the daemon, too."""
    restart(net, mode="0666", owner="nobody")
    assert net.daemon.control.stat().st_uid == 65534
    refused = as_user(net)
    assert refused.returncode == 1
    assert "permission denied: user 65534 is neither root" in refused.stderr
    assert net.daemon.wait_event(event="control-refused", uid="65534")
    assert net.daemon.knockctl("status")


def test_file_that_is_no_socket(net):
    other = net.lab.file("ordinary", "")
    said = net.gateway.run([KNOCKCTL, "status", "--socket", other], check=False)
    assert said.returncode == 1 and "not a socket, expected the control.socket" in said.stderr


def test_stale_socket_is_replaced(net):
    net.daemon.kill()
    assert net.daemon.control.exists()
    net.daemon.start()
    assert net.daemon.knockctl("status")


def test_live_socket_and_other_files_are_not_replaced(net):
    other = net.lab.namespace("other")
    second = Daemon(net.lab, other, CONFIG + f'control = {{ socket = "{net.daemon.control}"; }};')
    assert second.start(wait=False).process.wait(timeout=20) == 1
    assert "another daemon listens there" in second.log()
    assert net.daemon.knockctl("status")
    precious = net.lab.file("precious", "do not lose me")
    third = Daemon(net.lab, other, CONFIG + f'control = {{ socket = "{precious}"; }};')
    assert third.start(wait=False).process.wait(timeout=20) == 1
    assert "exists and is no socket" in third.log()
    assert precious.read_text() == "do not lose me"


GARBAGE = [b"\n", b"\0\n", b"nothing\n", b"status status\n", b" status\n", b"status\r\n", b"{}\n",
           b"GET / HTTP/1.0\r\n\r\n", b"x" * 511 + b"\n", b"x" * 512, b"x" * 100000, b"status\n" * 1000,
           bytes(range(256)) * 8, b"monitor loud\n", "stätus\n".encode()]


def test_garbage(net):
    for bytes_sent in GARBAGE:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            client = raw(net, bytes_sent)
            lines = answer(client)
            if not bytes_sent.startswith(b"status\n"):
                assert [line["ok"] for line in lines] == [False] and lines[0]["error"]
    assert net.daemon.ask("status")
    assert net.daemon.process.poll() is None and "ERROR" not in net.daemon.log()


def test_half_requests_and_silent_ends(net):
    with raw(net, b"stat"):
        pass
    client = raw(net, b"sta")
    client.sendall(b"tus\n")
    client.shutdown(socket.SHUT_WR)
    lines = answer(client)
    assert lines[0] == {"ok": True} and lines[-1] == {"end": 1}
    client = raw(net, b"stat")
    client.shutdown(socket.SHUT_WR)
    assert answer(client) == []


@pytest.fixture
def many_files():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_stuck_clients_stop_nothing(net, many_files):
    """A thousand connections that send half a request, and some that never read."""
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            client = stack.enter_context(raw(net, b"stat"))
            client.setblocking(False)
            if number % 100 == 0:
                stack.enter_context(raw(net, b"stats\n"))
                stack.enter_context(raw(net, b"monitor debug\n"))
        assert connect(net, right(), right() ^ 1) == ["open", "ConnectionRefusedError"]
        assert net.daemon.ask("services")[0]["authorised"] == 1
        descriptors = len(os.listdir(f"/proc/{net.daemon.process.pid}/fd"))
        assert descriptors < 200
    assert net.daemon.ask("services")[0]["refused"] == 1


def test_clients_that_leave_before_their_answer_stop_nothing(net):
    """Writing to a socket that nobody reads any more raises SIGPIPE, which would end the daemon."""
    for request in (b"status\n", b"stats\n", b"nonsense\n", b"monitor debug\n"):
        net.daemon.process.send_signal(signal.SIGSTOP)
        with raw(net, request):
            pass
        net.daemon.process.send_signal(signal.SIGCONT)
        assert net.daemon.ask("status")[0]["pid"] == net.daemon.process.pid
    # One with events on their way to it.
    monitor = raw(net, b"monitor debug\n")
    wait_until(lambda: monitor.recv(12) == b'{"ok":true}\n', what="the monitor")
    net.daemon.process.send_signal(signal.SIGSTOP)
    flood = net.client.start([PYTHON, "-c", CONNECT, "10.2.0.10", "80", str(right() ^ 1)],
                             env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")})
    wait_until(lambda: waiting_packets(net) > 0, what="a SYN in the queue")
    monitor.close()
    net.daemon.process.send_signal(signal.SIGCONT)
    assert flood.wait(timeout=20) == 0
    assert net.daemon.ask("status")[0]["pid"] == net.daemon.process.pid
    assert net.daemon.process.poll() is None


def waiting_packets(net):
    listing = net.gateway.run("cat /proc/net/netfilter/nfnetlink_queue").stdout
    return sum(int(line.split()[2]) for line in listing.splitlines())


def test_half_request_is_given_up(net):
    client = raw(net, b"stat")
    begin = time.monotonic()
    assert client.recv(100) == b""
    assert 5 < time.monotonic() - begin < 18


def test_monitor_shows_events(net):
    reader = net.gateway.start([KNOCKCTL, "monitor", "--json", "--socket", net.daemon.control],
                               stdout=subprocess.PIPE, text=True)
    table = net.gateway.start([KNOCKCTL, "monitor", "--socket", net.daemon.control],
                              stdout=subprocess.PIPE, text=True)
    # Both are known to listen when events come through.
    wait_until(lambda: net.daemon.ask("status") and monitors(net) == 2, what="two monitors")
    connect(net, right(), right() ^ 1)
    event = json.loads(reader.stdout.readline())
    assert event["event"] == "verified" and event["service"] == "web" and event["key"] == "1"
    assert re.fullmatch(r"10\.2\.0\.2:\d+", event["source"]) and event["destination"] == "10.2.0.10:80"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["time"])
    event = json.loads(reader.stdout.readline())
    assert (event["event"], event["reason"], event["level"]) == ("refused", "token-wrong", "info")
    assert re.fullmatch(r"\S+Z info    verified service=web source=10\.2\.0\.2:\d+ "
                        r"destination=10\.2\.0\.10:80 interface=out0 reason=token-valid key=1\n",
                        table.stdout.readline())
    net.daemon.stop()
    assert reader.wait(timeout=10) == 1 and table.wait(timeout=10) == 1


def monitors(net):
    """How many connections to the socket are established."""
    return net.gateway.run("ss -Hx state established").stdout.count(f"{net.daemon.control} ")


def test_slow_monitor_loses_events_and_is_told(net):
    slow = raw(net, b"monitor info\n")
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    wait_until(lambda: slow.recv(12) == b'{"ok":true}\n', what="the monitor")
    net.client.run([PYTHON, SOURCE / "tests/system/syn_flood.py", "10.2.0.2", "10.2.0.10", 80, 4000, 500])
    assert connect(net, right()) == ["open"]
    # More than socket and buffer hold waits for it, and nobody waits with it.
    assert net.daemon.ask("services")[0]["authorised"] == 1
    slow.settimeout(2)
    said = b""
    with contextlib.suppress(TimeoutError):
        while data := slow.recv(65536):
            said += data
    events = [json.loads(line) for line in said.splitlines()]
    lost = sum(event["events"] for event in events if event["event"] == "lost")
    seen = [event for event in events if event["event"] in ("refused", "verified")]
    assert lost > 0 and seen
    stats = net.daemon.ask("stats")
    judged = sum(row["packets"] for row in stats if row["kind"] == "packets" and
                 row["service"] == "web" and row["reason"] in ("token-wrong", "token-valid"))
    suppressed = [event for event in events if event["event"] == "suppressed"]
    assert lost + len(events) - 2 * len(suppressed) >= judged
    slow.close()


def test_default_path_is_no_reason_to_fail(lab):
    """Two daemons in two namespaces may share the default path of the socket: one of them has it."""
    net = Direct(lab)
    net.lab = lab
    made = Daemon(lab, net.gateway, CONFIG + f'state_directory = "{lab.folder}/state";\n')
    made.config.write_text(re.sub(r"(?m)^control = .*\n", "", made.config.read_text()))
    made.start()
    other = lab.namespace("other")
    second = Daemon(lab, other, CONFIG + f'state_directory = "{lab.folder}/other";\n')
    second.config.write_text(re.sub(r"(?m)^control = .*\n", "", second.config.read_text()))
    second.start()
    assert any(one.events(event="control-unavailable", level="warning") for one in (made, second))
