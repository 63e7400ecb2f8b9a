# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon may do once it serves, and that it can still do everything it has to.

    laptop ---------- egress ------------ nat ------------- gateway ------------ server
      10.0.0.2  10.0.0.1   10.1.0.2  10.1.0.1   10.2.0.2  10.2.0.1   10.3.0.1  10.3.0.2

knockgw runs on egress and on gateway, as the user "daemon", which every Debian has. The build with
sanitizers allows more system calls, so the hardened one is tried where it counts.
"""
import contextlib
import ctypes
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess

import pytest

from lab import BUILD, KNOCKCTL, SOURCE, Daemon, url
from topology import TwoGateways

HARDENED = pathlib.Path(os.environ.get("KNOCKGW_HARDENED_BUILDDIR", SOURCE / "build" / "gcc"))
USER = pwd.getpwnam("daemon")
NETWORK_CAPABILITIES = "0000000000003000"  # CAP_NET_ADMIN and CAP_NET_RAW
SECRET = "a secret that is easily found in memory"

PROTECT = """
user = "daemon";
services = ( { name = "web"; address = [ "10.2.0.10", "fd02::10" ]; port = 80;
               secret = "f:%(secret)s";
               backends = ( { address = "10.3.0.2"; }, { address = "fd03::2"; } ); } );
queues = { first = 40; count = 2; };
state_directory = "%(folder)s/state-protect";
control = { socket = "%(folder)s/run-protect/control.sock"; };
"""
EGRESS = """
user = "daemon";
egress = ( { name = "web"; destination = [ "10.2.0.10", "fd02::10" ]; port = 80;
             secret = "f:%(secret)s"; } );
queues = { first = 40; count = 2; };
max_flows = 1000;
state_directory = "%(folder)s/state-egress";
control = { socket = "%(folder)s/run-egress/control.sock"; };
"""


def program(name):
    path = (HARDENED if name == "hardened" else BUILD) / "knockgw"
    assert os.access(path, os.X_OK), f"{path} is missing: scripts/test builds it"
    return str(path)


def give(path, mode=0o640):
    os.chown(path, 0, USER.pw_gid)
    path.chmod(mode)


class Net(TwoGateways):
    def __init__(self, lab, build):
        super().__init__(lab)
        self.lab = lab
        self.secret = lab.file("web.secret", SECRET)
        give(self.secret)
        values = {"secret": self.secret, "folder": lab.folder}
        lab.nginx(self.server, 80, "page of the server")
        self.protect = Daemon(lab, self.gateway, PROTECT % values, program(build))
        self.translate = Daemon(lab, self.egress, EGRESS % values, program(build))
        for daemon in self.daemons:
            give(daemon.config)
            daemon.start()

    @property
    def daemons(self):
        return self.protect, self.translate

    def fetch(self):
        """A page through both gateways, on both families."""
        for address in self.FRONT:
            page = self.laptop.run(["curl", "-sS", "-m", "10", url(address)]).stdout
            assert page == "page of the server"
            refused = self.nat.run(["curl", "-sS", "-m", "5", url(address)], check=False)
            assert refused.returncode == 7


def threads(daemon):
    return [pathlib.Path(f"/proc/{daemon.process.pid}/task/{thread}")
            for thread in os.listdir(f"/proc/{daemon.process.pid}/task")]


def status(thread):
    lines = (thread / "status").read_text().splitlines()
    return {key: value.split() for key, value in (line.split(":", 1) for line in lines)}


def assert_unprivileged(daemon, user):
    assert len(threads(daemon)) == 3  # the main loop and two workers
    for thread in threads(daemon):
        fields = status(thread)
        assert fields["Uid"] == [str(user.pw_uid)] * 4, fields["Name"]
        assert fields["Gid"] == [str(user.pw_gid)] * 4, fields["Name"]
        for capabilities in ("CapEff", "CapPrm", "CapBnd"):
            assert fields[capabilities] == [NETWORK_CAPABILITIES], (fields["Name"], capabilities)
        for capabilities in ("CapInh", "CapAmb"):
            assert fields[capabilities] == ["0" * 16], (fields["Name"], capabilities)
        assert fields["NoNewPrivs"] == ["1"], fields["Name"]
        assert fields["Seccomp"] == ["2"], fields["Name"]


@pytest.mark.parametrize("build", ["hardened", "under-test"])
def test_unprivileged_and_able(lab, build):
    net = Net(lab, build)
    for daemon in net.daemons:
        assert_unprivileged(daemon, USER)
        assert not daemon.events(event="reload-will-fail")
        assert daemon.events(event="privileges", user="daemon")
    net.fetch()
    # It may still count what the kernel drops, though only root may open that file.
    for daemon in net.daemons:
        assert not daemon.events(event="queue-statistics-missing")
    # A restart as the same user finds its state again, and nobody else may read it.
    for daemon in net.daemons:
        assert daemon.stop() == 0
        daemon.start()
    net.fetch()
    for path in lab.folder.glob("state-egress/*"):
        assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (USER.pw_uid, 0o600), path
    for daemon in net.daemons:
        assert daemon.stop() == 0
        assert "forbidden-system-call" not in daemon.log()


def test_filter_is_there_before_anything_is_served(lab):
    """Threads have the filter from their first moment, and so has the main one before the rules."""
    daemon = plain(lab, 'user = "daemon";', program=program("hardened"))
    give(daemon.config)
    daemon.start(wait=False)
    seen = []
    while "knockgw: ready" not in daemon.log():
        assert daemon.process.poll() is None, daemon.log()
        tables = daemon.namespace.run("nft list tables").stdout
        found = {}
        for thread in threads(daemon):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found[thread.name] = status(thread)["Seccomp"]
        # What serves was there before the threads were looked at.
        if len(found) > 1 or "knockgw" in tables:
            seen.append(found)
    assert_unprivileged(daemon, USER)
    assert all(filters == ["2"] for found in seen for filters in found.values()), seen
    assert daemon.stop() == 0


# What a reload may bring and take away. Both sides of a row fit: pages go on coming through.
CHECKED = "integrity = 16;"
MORE_SERVICES = """
  , { name = "more"; address = [ "10.2.0.10", "fd02::10" ]; port = [ 81, 82 ]; secret = "more";
      integrity = 32; reassemble = true; }
  , { name = "keys"; address = "10.2.0.1"; port = 83;
      secret = ( { name = "a"; secret = "first"; }, { name = "b"; secret = "second"; } ); }"""
BACKENDS = 'backends = ( { address = "10.3.0.2"; }, { address = "fd03::2"; } );'
CHECKED_BACKENDS = """backends = ( { address = "10.3.0.2"; weight = 3; }, { address = "fd03::2"; } );
    schedule = "round-robin"; health = { interval = 1; timeout = 0.4; fall = 1; rise = 1; };"""
MORE_EGRESS = """
  , { name = "checked"; destination = "198.51.100.0/24"; port = 443; secret = "x"; integrity = 64; }
  , { name = "open"; destination = "198.51.101.0/24"; port = 443; secret = "x"; on_failure = "pass"; }"""
RESTART_ONLY = """max_held = 7; metrics = { listen = "127.0.0.1:%(port)s"; };"""

ROWS = [
    {"protect": {}, "egress": {}},
    {"protect": {"services": MORE_SERVICES}, "egress": {"more": MORE_EGRESS}},
    {"protect": {"checked": CHECKED}, "egress": {"checked": CHECKED}},
    {"protect": {"backends": CHECKED_BACKENDS, "daemon": RESTART_ONLY % {"port": 9500}},
     "egress": {"daemon": RESTART_ONLY % {"port": 9501}}},
    # The roles that were not there at the start.
    {"protect": {"egress": f'egress = ( {MORE_EGRESS.strip(" ," + chr(10))} );'},
     "egress": {"services": f'services = ( {MORE_SERVICES.strip(" ," + chr(10))} );'}},
]


def row_text(side, values, **parts):
    parts = {"services": "", "backends": BACKENDS, "checked": "", "more": "", "egress": "",
             "daemon": "", **parts}
    if side == "protect":
        roles = f"""services = ( {{ name = "web"; address = [ "10.2.0.10", "fd02::10" ]; port = 80;
            secret = "f:{values['secret']}"; {parts['checked']} {parts['backends']} }}
            {parts['services']} );
            {parts['egress']}"""
    else:
        roles = f"""egress = ( {{ name = "web"; destination = [ "10.2.0.10", "fd02::10" ]; port = 80;
            secret = "f:{values['secret']}"; {parts['checked']} }} {parts['more']} );
            {parts['services']}"""
    return f"""user = "daemon"; {roles} {parts['daemon']}
        queues = {{ first = 40; count = 2; }};
        {"max_flows = 1000;" if side == "egress" else ""}
        state_directory = "{values['folder']}/state-{side}";
        control = {{ socket = "{values['folder']}/run-{side}/control.sock"; }};"""


@pytest.mark.parametrize("build, rounds", [("hardened", 3), ("under-test", 1)])
def test_reloads_and_commands_under_the_filter(lab, build, rounds):
    """As the package runs it: of its own user, without capabilities, under its filter."""
    values = {"secret": lab.folder / "web.secret", "folder": lab.folder}
    net = Net(lab, build)
    for daemon, side in zip(net.daemons, ("protect", "egress")):
        daemon.control = lab.folder / f"run-{side}/control.sock"
        daemon.monitor = daemon.namespace.start(
            [KNOCKCTL, "monitor", "debug", "--socket", daemon.control], stdout=subprocess.DEVNULL)
    pids = [daemon.process.pid for daemon in net.daemons]
    for _ in range(rounds):
        for row in ROWS:
            for daemon, side in zip(net.daemons, ("protect", "egress")):
                daemon.config.write_text(row_text(side, values, **row[side]))
                said = daemon.ask("reload")[0]
                assert {row["key"] for row in said["needs_restart"]} == \
                    ({"max_held", "metrics"} if "daemon" in row[side] else set())
            net.fetch()
            command_all(net)
    for daemon, pid in zip(net.daemons, pids):
        assert daemon.process.pid == pid and daemon.process.poll() is None
        assert daemon.monitor.poll() is None
        assert all(status(thread)["Seccomp"] == ["2"] for thread in threads(daemon))
        assert len(threads(daemon)) > 4  # of both roles
        assert daemon.ask("status")[0]["configuration"]["reloads"] == rounds * len(ROWS)
        for event in ("forbidden-system-call", "reload-failed", "ruleset-lost", "ruleset-changed",
                      "worker-failed"):
            assert not daemon.events(event=event), event
        assert daemon.stop() == 0


def command_all(net):
    """What knockctl can make the daemons do beside a reload."""
    for drained in ("drain", "undrain"):
        found = net.protect.ask(drained, "web", "10.3.0.2")
        state = {row["backend"]: row["state"] for row in found}["10.3.0.2"]
        assert (state == "drain") == (drained == "drain")
    assert net.protect.ask("kick", "web")[0]["service"] == "web"
    assert net.translate.ask("flows")
    for daemon in net.daemons:
        for shown in ("status", "services", "backends", "stats"):
            daemon.knockctl(shown)
        daemon.process.send_signal(signal.SIGUSR1)


def mappings(pid):
    """Start, end, name and VmFlags of each mapping."""
    found, current = [], None
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)", line)
        if head:
            current = [int(head[1], 16), int(head[2], 16), head[3], head[4]]
        elif line.startswith("VmFlags:"):
            found.append((*current, line.split()[1:]))
    return found


def test_secrets_stay_in_locked_undumped_memory(lab):
    net = Net(lab, "hardened")
    net.fetch()
    for daemon in net.daemons:
        pid, seen = daemon.process.pid, 0
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for start, end, access, name, flags in mappings(pid):
                if not access.startswith("r") or name.startswith("[v"):
                    continue
                memory.seek(start)
                count = memory.read(end - start).count(SECRET.encode())
                if count:
                    # lo: locked, dd: not dumped, wf: wiped on fork
                    assert {"lo", "dd", "wf"} <= set(flags), (name, flags)
                seen += count
        assert seen == 1
        # Nobody but root with CAP_SYS_PTRACE gets at it, not even the same user.
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
        other = subprocess.run(["setpriv", "--reuid", str(USER.pw_uid), "--regid",
                                str(USER.pw_gid), "--clear-groups", "head", "-c", "1",
                                f"/proc/{pid}/mem"], capture_output=True, text=True, check=False)
        assert other.returncode != 0 and "Permission denied" in other.stderr
        assert SECRET not in daemon.log()


PLAIN = """
%s services = ( { name = "web"; address = "10.9.0.1"; port = 80; secret = "s"; } );
queues = { first = 40; count = 2; };
state_directory = "%s/state"; control = { socket = "%s/run/control.sock"; };
"""


def plain(lab, key, **options):
    daemon = Daemon(lab, lab.namespace("host"), PLAIN % (key, lab.folder, lab.folder), **options)
    return daemon


def test_root_drops_its_capabilities_too(lab):
    daemon = plain(lab, 'user = "root";', program=program("hardened")).start()
    assert_unprivileged(daemon, pwd.getpwnam("root"))
    assert daemon.stop() == 0


def test_unknown_user_is_an_error(lab):
    daemon = plain(lab, 'user = "nobody-of-that-name";').start(wait=False)
    assert daemon.process.wait(timeout=20) == 2
    assert re.fullmatch(r'\S+:\d+: error: user: found "nobody-of-that-name", expected a user of this '
                        r'system\n', daemon.log())


def test_without_capabilities_it_says_what_is_missing(lab):
    daemon = plain(lab, "")
    daemon.config.chmod(0o644)
    daemon.program = ["setpriv", "--reuid", "1", "--regid", "1", "--clear-groups",
                      program("under-test")]
    with open(daemon.log_path, "w", encoding="utf-8") as log:
        process = daemon.namespace.start([*daemon.program, "--foreground", "--config",
                                          daemon.config], stderr=log)
    assert process.wait(timeout=20) == 1
    assert "needs CAP_NET_ADMIN and CAP_NET_RAW" in daemon.log()


def test_a_file_that_a_reload_could_not_read_is_told_at_start(lab):
    daemon = plain(lab, 'user = "daemon";')
    daemon.config.chmod(0o600)
    daemon.start()
    told = daemon.wait_event(event="reload-will-fail")[0]
    assert f"{daemon.config}: error: cannot be read: Permission denied, expected mode 0640" \
        in told["reason"]


def test_shared_folders_do_not_change_hands(lab):
    """A state_directory that is not knockgw's own is refused, not given to its user."""
    shared = lab.folder / "shared"
    shared.mkdir(mode=0o755)
    (shared / "of somebody else").touch()
    daemon = Daemon(lab, lab.namespace("host"), f"""
user = "daemon";
egress = ( {{ name = "web"; destination = "10.9.0.1"; port = 80; secret = "s"; }} );
state_directory = "{shared}"; control = {{ socket = "{shared}/control.sock"; }};
""").start(wait=False)
    assert daemon.process.wait(timeout=20) == 1
    assert f"state_directory {shared} cannot be written to: Permission denied" in daemon.log()
    assert shared.stat().st_uid == 0


# ---- Watchdog --------------------------------------------------------------------------------------

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    assert libc.ptrace(request, thread, None, None) == 0, os.strerror(ctypes.get_errno())


def test_watchdog_speaks_for_the_workers(lab):
    """The service manager hears WATCHDOG=1 while all threads are alive, and no more once one stops."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.settimeout(20)
    path = lab.folder / "notify"
    manager.bind(str(path))
    path.chmod(0o666)
    daemon = plain(lab, 'user = "daemon";', program=program("hardened"))
    give(daemon.config)
    with open(daemon.log_path, "w", encoding="utf-8") as log:
        daemon.process = daemon.namespace.start(
            [daemon.program, "--foreground", "--config", daemon.config], stderr=log,
            env={**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"})
    assert manager.recv(1000).decode().startswith("READY=1")
    for _ in range(2):
        assert manager.recv(1000) == b"WATCHDOG=1"
    worker = next(int(thread.name) for thread in threads(daemon)
                  if status(thread)["Name"] == ["protect/1"])
    ptrace(PTRACE_SEIZE, worker)
    ptrace(PTRACE_INTERRUPT, worker)
    os.waitpid(worker, 0x40000000)  # __WALL: until it has stopped
    assert daemon.wait_event(event="worker-silent", action="restart")
    # What was sent before the silence was noticed is read; then nothing more may come.
    manager.settimeout(0.1)
    with pytest.raises(TimeoutError):
        while True:
            manager.recv(1000)
    manager.settimeout(1.5)  # more than two of its intervals
    with pytest.raises(TimeoutError):
        manager.recv(1000)
    ptrace(PTRACE_DETACH, worker)
    manager.settimeout(20)
    assert manager.recv(1000) == b"WATCHDOG=1"
    daemon.process.send_signal(signal.SIGTERM)
    assert manager.recv(1000) in (b"WATCHDOG=1", b"STOPPING=1")
    assert daemon.process.wait(timeout=20) == 0
