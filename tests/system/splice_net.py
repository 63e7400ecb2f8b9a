# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of egress in integrity mode share: both gateways with a daemon each, an unmodified
client that is told what to do, and a look at both sides of egress. The network is TwoGateways in
topology.py."""
import subprocess

from egress_net import Net, echo_server
from lab import PYTHON, Daemon
from reload import Reloading
from topology import TwoGateways

SECRET = "a secret for first bytes"
N = 32
HELLO = bytes(range(64))
CLIENTS = """
import socket, sys
try:
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
    s.settimeout(60)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((sys.argv[3], int(sys.argv[4])))
    s.setsockopt(socket.SOL_TCP, socket.TCP_NODELAY, 1)
    s.connect((sys.argv[1], int(sys.argv[2])))
    print('open', flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
for line in sys.stdin:
    word, argument = line.split()
    try:
        if word == 'send':
            s.sendall(bytes.fromhex(argument))
            print('sent', flush=True)
        else:
            data = b''
            while len(data) < int(argument) and (part := s.recv(int(argument) - len(data))):
                data += part
            print(data.hex() or 'end', flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


class Client:
    """An ordinary program with one connection, which does one thing after the other."""

    def __init__(self, namespace, address, port=7000, source="", source_port=0):
        self.process = namespace.start([PYTHON, "-c", CLIENTS, address, port, source, source_port],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.connected = self.answer()

    def answer(self):
        return self.process.stdout.readline().strip()

    def order(self, word, argument):
        self.process.stdin.write(f"{word} {argument}\n")
        self.process.stdin.flush()

    def send(self, data):
        """Returns "sent", or the name of an error."""
        self.order("send", data.hex())
        return self.answer()

    def receive(self, count):
        """Bytes, or "end", or the name of an error."""
        self.order("receive", count)
        answer = self.answer()
        return answer if not answer or answer == "end" or answer.endswith("Error") \
            else bytes.fromhex(answer)

    def echo(self, data=HELLO):
        """What comes back of data. When the connection ends meanwhile: how."""
        sent = self.send(data)
        return self.receive(len(data)) if sent == "sent" else sent

    def abort(self):
        self.process.kill()
        self.process.wait()


def protect_config(integrity=N):
    return f"""services = (
      {{ name = "web"; address = [ "10.3.0.2", "fd03::2" ]; port = [ 80, 443, 7000, 7001 ];
        secret = "{SECRET}"; integrity = {integrity}; }} );
    queues = {{ first = 40; count = 1; }};
    log = {{ level = "debug"; }};"""


def destination(integrity=N, name="branch", port="[ 80, 443, 7000, 7001 ]", secret=SECRET,
                address='[ "10.3.0.0/24", "fd03::/64" ]'):
    return (f'{{ name = "{name}"; destination = {address}; port = {port};\n'
            f'  secret = "{secret}"; integrity = {integrity}; }}')


def egress_config(lab, *destinations, queues=2, options="", more=""):
    return f"""egress = ( {", ".join(destinations or (destination(),))} );
    egress_integrity = {{ {options} }};
    queues = {{ first = 40; count = {queues}; }};
    state_directory = "{lab.folder}/state";
    log = {{ level = "debug"; }};
    {more}"""


ECHO_BULK = """
import hashlib, os, socket, sys, threading
data = os.urandom(int(sys.argv[3]))
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60)
if int(sys.argv[4]):
    s.setsockopt(socket.SOL_SOCKET, 47, int(sys.argv[4]))  # SO_MAX_PACING_RATE
def send():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
digest = hashlib.sha256()
received = 0
while part := s.recv(65536):
    digest.update(part)
    received += len(part)
assert received == len(data) and digest.digest() == hashlib.sha256(data).digest(), received
print('same')
"""


def echo_bulk(client, address, size, pacing=0):
    """Sends size bytes to an echo and reads them back, both at a time. pacing: bytes a second that the
    socket asks for."""
    return client.run([PYTHON, "-c", ECHO_BULK, address, 7000, size, pacing]).stdout


class IntegrityNet(Net):
    """Both gateways with a daemon, and on server a page on port 80 and an echo on port 7000."""

    def __init__(self, lab, *destinations, masquerade=True, integrity=N, daemon=Daemon, **options):
        TwoGateways.__init__(self, lab, masquerade)
        self.lab = lab
        lab.nginx(self.server, 80, "a hidden page")
        echo_server(self.server, dual=True)
        self.protect = daemon(lab, self.gateway, protect_config(integrity)).start()
        self.daemon = daemon(lab, self.egress,
                             egress_config(lab, *destinations, **options)).start()

    def connections(self, port=7000):
        """Sockets of the server, that of the listener not counted."""
        said = self.server.run(["ss", "-Hatn", "sport", "=", f":{port}"]).stdout
        return sum("LISTEN" not in line for line in said.splitlines())


class ReloadingNet(IntegrityNet):
    def __init__(self, lab, *destinations, **options):
        super().__init__(lab, *destinations, daemon=Reloading, **options)

    def reload(self, *destinations, **options):
        assert self.daemon.reload(egress_config(self.lab, *destinations, **options)) is None
