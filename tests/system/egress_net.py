# SPDX-License-Identifier: GPL-2.0-or-later
"""Two gateways with knockgw, and what the tests of the egress role do with them."""
import hashlib
import json
import os
import re
import signal
import subprocess

from lab import BUILD, KNOCKCTL, PYTHON, Daemon, patient, url, wait_until
from topology import TwoGateways

SECRET = "a secret between two gateways"
PROTECT = f"""services = (
  {{ name = "web"; address = [ "10.3.0.2", "fd03::2" ]; port = [ 80, 7000 ]; secret = "{SECRET}"; }},
  {{ name = "ssh"; address = [ "10.3.0.2", "fd03::2" ]; port = 22; secret = "{SECRET}"; }}
);
queues = {{ first = 40; count = 2; }};
"""


def egress_config(lab, queues=2, more="", on_failure="drop"):
    return f"""egress = (
  {{ name = "branch"; destination = [ "10.3.0.0/24", "fd03::/64" ]; port = [ 22, 80, 7000 ];
    secret = "{SECRET}"; on_failure = "{on_failure}"; }}
);
queues = {{ first = 40; count = {queues}; }};
state_directory = "{lab.folder}/state";
log = {{ level = "debug"; }};
{more}
"""


class Net(TwoGateways):
    """Both gateways with a daemon, and a server."""

    def __init__(self, lab, masquerade=True, **options):
        super().__init__(lab, masquerade)
        self.lab = lab
        lab.nginx(self.server, 80, "a hidden page")
        self.protect = Daemon(lab, self.gateway, PROTECT).start()
        self.daemon = Daemon(lab, self.egress, egress_config(lab, **options)).start()

    def statistics(self):
        """Packets by reason, as the egress daemon counts them."""
        seen = len(self.daemon.events(event="statistics"))
        self.daemon.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: any("flows" in event for event in
                               self.daemon.events(event="statistics")[seen:]),
                   what="the statistics")
        return {event.get("reason", "flows"): int(event.get("packets", event.get("flows")))
                for event in self.daemon.events(event="statistics")[seen:]}

    def flows(self):
        said = self.egress.run([KNOCKCTL, "flows", "--json", "--state-directory",
                                self.lab.folder / "state"]).stdout
        return [json.loads(line) for line in said.splitlines()]


def get(namespace, address):
    return namespace.run(["curl", "-sS", "-m", "20", url(address)], check=False).stdout


def stop_capture(capture):
    # Here, because scapy takes longer to load than many a test to run.
    from scapy.all import rdpcap
    capture.terminate()
    capture.wait()
    return rdpcap(str(capture.capture_path))


def put_file(net, size):
    """Random bytes on laptop and server, and their digest."""
    data = os.urandom(1 << 20) * (size >> 20)
    path = net.lab.folder / "bulk"
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


def start_transfer(net, direction, path, port=7000, family=0):
    """A bulk transfer by plain nc; the received bytes land in a file. Returns (process, file)."""
    received = net.lab.folder / f"received-{direction}"
    server = TwoGateways.SERVER[family]
    inner = "nc -N -l" if not family else "nc -6 -N -l"
    if direction == "up":
        listen = f"{inner} {port} > {received}"
        connect = f"nc -N {server} {port} < {path}"
    else:
        listen = f"{inner} {port} < {path}"
        connect = f"nc {server} {port} < /dev/null > {received}"
    listener = net.server.start(["sh", "-c", f"exec {listen}"])
    wait_until(lambda: net.server.listens(port), what="nc listening")
    client = net.laptop.start(["sh", "-c", f"exec {connect}"])
    return client, listener, received


def finish_transfer(transfer, digest, timeout=150):
    client, listener, received = transfer
    assert client.wait(timeout=patient(timeout)) == 0
    assert listener.wait(timeout=patient(timeout)) == 0
    assert hashlib.sha256(received.read_bytes()).hexdigest() == digest


def size_of(transfer):
    received = transfer[2]
    return received.stat().st_size if received.exists() else 0


def counter(namespace, name):
    said = namespace.run(["nstat", "-asz", name]).stdout
    return int(re.search(rf"{name}\s+(\d+)", said).group(1))


HOLDER = """
import socket, sys, time
address, port, source_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
{before}
s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.settimeout(20)
if source_port:
    s.bind(('', source_port))
{prepare}
s.connect((address, port))
{after}
"""

ECHO = """
import socket, sys, threading
listener = socket.create_server(('', int(sys.argv[1])), **{options})
{prepare}
print('ready', flush=True)
def serve(peer):
    try:
        while data := peer.recv(65536):
            peer.sendall(data)
    except OSError as error:
        print(type(error).__name__, flush=True)
    peer.close()
    print('closed', flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


def echo_server(namespace, port=7000, prepare="", dual=False):
    """dual: for IPv6, too."""
    options = "dict(family=socket.AF_INET6, dualstack_ipv6=True)" if dual else "dict()"
    server = namespace.start([PYTHON, "-c", ECHO.format(prepare=prepare, options=options), port],
                             stdout=subprocess.PIPE, text=True)
    assert server.stdout.readline() == "ready\n"
    return server


def client(namespace, address, after, before="", prepare="", port=7000, source_port=0):
    code = HOLDER.format(before=before, prepare=prepare, after=after)
    return namespace.run([PYTHON, "-c", code, address, port, source_port]).stdout


PING = "s.sendall(b'ping'); assert s.recv(4) == b'ping'; print('pong')"


def mangle(net, drop, reorder, duplicate):
    """Spoils the traffic that the NAT forwards, in packets of 1000."""
    for device in ("in0", "up0"):
        net.nat.run(["ethtool", "-K", device, "tso", "off", "gso", "off", "gro", "off"])
    net.egress.run(["ethtool", "-K", "up0", "tso", "off", "gso", "off"])
    net.gateway.run(["ethtool", "-K", "out0", "tso", "off", "gso", "off"])
    process = net.nat.start([BUILD / "tests/system/mangle", 7, drop, reorder, duplicate, 100],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline() == "ready\n"
    for tables in ("iptables", "ip6tables"):
        net.nat.run([tables, "-A", "FORWARD", "-p", "tcp", "-j", "NFQUEUE", "--queue-num", "7"])
    return process


def mangled(process):
    """What it did, once it has ended."""
    process.terminate()
    return {key: int(value) for key, value in
            (word.split("=") for word in process.stdout.read().split())}
