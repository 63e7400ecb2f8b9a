# SPDX-License-Identifier: GPL-2.0-or-later
"""
laptop ---- egress (knockgw) ---- nat ---- gateway (knockgw) ---- server

What befalls the daemons, the kernel's tables and the links, with a connection through both gateways
that sends and checks bytes all the time. Each test says what is lost.

KNOCKGW_LONG=1 (scripts/test --long): more, and longer.
"""
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from egress_net import Net, echo_server, egress_config, get
from lab import KNOCKGW, PYTHON, Daemon, wait_until

LONG = os.environ.get("KNOCKGW_LONG") == "1"
KILLS = 100 if LONG else 12
HELD = 10 if LONG else 3  # seconds
SERVER = Net.SERVER[0]

# Sends random bytes to an echo server until its input ends, and compares what comes back.
PUMP = """
import os, select, socket, sys
s = socket.create_connection((sys.argv[1], 7000), timeout=60)
total = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    data = os.urandom(20000)
    s.sendall(data)
    back = b""
    while len(back) < len(data):
        more = s.recv(65536)
        if not more:
            sys.exit("the connection ended")
        back += more
    if back != data:
        sys.exit("other bytes came back")
    total += len(data)
    print(total, flush=True)
print("whole", flush=True)
"""


class Pump:
    """That connection."""

    def __init__(self, net):
        self.output = net.lab.folder / f"pump-{time.monotonic_ns()}"
        with open(self.output, "w", encoding="ascii") as output:
            self.process = net.laptop.start([PYTHON, "-c", PUMP, SERVER], stdin=subprocess.PIPE,
                                            stdout=output, stderr=subprocess.STDOUT)
        self.moves()

    def total(self):
        lines = self.output.read_text(encoding="ascii").splitlines()
        return int(lines[-1]) if lines and lines[-1].isdigit() else 0

    def moves(self, timeout=60):
        """Waits until more bytes went there and back."""
        before = self.total()
        wait_until(lambda: self.total() > before or self.process.poll() is not None,
                   timeout=timeout, what="more bytes")
        assert self.process.poll() is None, self.output.read_text(encoding="ascii")

    def finish(self):
        self.moves()
        self.process.stdin.write(b"\n")
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0
        assert self.output.read_text(encoding="ascii").endswith("whole\n")


@pytest.fixture(name="net")
def fixture_net(lab):
    net = Net(lab, masquerade=False)
    net.echo = echo_server(net.server)
    return net


def works(net):
    assert get(net.laptop, SERVER) == "a hidden page"
    assert get(net.nat, SERVER) == ""


def test_killed_at_random_moments(net):
    """Lost: nothing. Established connections wait for egress, and do not need protect at all."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    pump = Pump(net)
    for _ in range(KILLS):
        daemon = moments.choice((net.daemon, net.protect))
        time.sleep(moments.uniform(0, 0.3))
        daemon.kill()
        time.sleep(moments.choice((0, moments.uniform(0, 0.3))))
        daemon.start()
        pump.moves()
        works(net)
    pump.finish()


def test_killed_while_it_starts(net):
    """Lost: nothing, at whichever step of its start it dies."""
    moments = random.Random(1)
    pump = Pump(net)
    for _ in range(KILLS // 2):
        daemon = moments.choice((net.daemon, net.protect))
        daemon.kill()
        for _ in range(3):
            daemon.start(wait=False)
            time.sleep(moments.uniform(0, 0.4))
            daemon.kill()
        daemon.start()
        pump.moves()
    pump.finish()
    works(net)


def test_held_for_seconds(net):
    """Lost: nothing. What is new waits, and is let in afterwards."""
    pump = Pump(net)
    for daemon in (net.daemon, net.protect):
        daemon.process.send_signal(signal.SIGSTOP)
        late = net.laptop.start(["curl", "-sS", "-m", "60", f"http://{SERVER}/"],
                                stdout=subprocess.PIPE, text=True)
        stranger = net.nat.start(["curl", "-sS", "-m", "60", f"http://{SERVER}/"],
                                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        time.sleep(HELD)
        daemon.process.send_signal(signal.SIGCONT)
        assert late.communicate(timeout=60)[0] == "a hidden page"
        assert stranger.communicate(timeout=60)[0] == ""
        pump.moves()
    pump.finish()


def test_upgraded_to_another_program(net):
    """Lost: nothing."""
    pump = Pump(net)
    other = net.lab.folder / "knockgw-new"
    shutil.copy(KNOCKGW, other)
    for daemon in (net.daemon, net.protect):
        assert daemon.stop() == 0
        daemon.program = other
        daemon.start()
        pump.moves()
    pump.finish()
    works(net)


def test_conntrack_flushed_on_the_side_of_the_clients(net):
    """Lost: nothing. Egress has a table of its own."""
    pump = Pump(net)
    net.egress.run("conntrack -F")
    pump.finish()
    works(net)


def test_conntrack_flushed_on_the_side_of_the_servers(net):
    """Lost: all connections of that moment, for their mark is gone. New ones are let in."""
    pump = Pump(net)
    net.gateway.run("conntrack -F")
    assert pump.process.wait(timeout=90) != 0
    works(net)
    Pump(net).finish()


def test_links_and_addresses_come_and_go(net):
    """Lost: nothing."""
    pump = Pump(net)
    net.gateway.run("ip link set in0 down")
    time.sleep(1)
    net.gateway.run("ip link set in0 up")
    pump.moves()
    net.gateway.run("ip address del 10.3.0.1/24 dev in0")
    time.sleep(1)
    net.gateway.run("ip address add 10.3.0.1/24 dev in0")
    pump.moves()
    net.egress.run("ip link set in0 down")
    time.sleep(1)
    net.egress.run("ip link set in0 up")
    pump.finish()
    works(net)


@pytest.mark.parametrize("options, said", [("size=64k", "No space left on device"),
                                           ("ro", "Read-only file system")], ids=["full", "read-only"])
def test_state_directory_that_takes_nothing(lab, options, said):
    """The daemon says so and does not start: without flow tables it would break connections later."""
    namespace = lab.namespace("egress")
    daemon = Daemon(lab, namespace, egress_config(lab))
    folder = lab.folder / "state"
    folder.mkdir()
    # In a mount namespace that ends with the process.
    result = namespace.run(["sh", "-c", f"mount -t tmpfs -o {options} none {folder} && "
                            f"exec {KNOCKGW} --foreground --config {daemon.config}"],
                           check=False, timeout=60)
    assert result.returncode == 1
    assert said in result.stderr and str(folder) in result.stderr
    assert "knockgw: ready" not in result.stderr
