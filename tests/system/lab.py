# SPDX-License-Identifier: GPL-2.0-or-later
"""Network namespaces, real servers and the daemon, for system tests.

Every namespace, file and process belongs to one Lab and goes away with it, so tests may run twice in
a row and several at a time.
"""
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("KNOCKGW_BUILDDIR", SOURCE / "build" / "gcc"))
KNOCKGW = os.environ.get("KNOCKGW", str(BUILD / "knockgw"))
KNOCKCTL = os.environ.get("KNOCKCTL", str(BUILD / "knockctl"))
PYTHON = "/usr/bin/python3"
# How many times slower than a usual one this machine is, an emulated one for example.
SLOWNESS = float(os.environ.get("KNOCKGW_TEST_SLOWNESS", "1"))

_numbers = itertools.count(1)
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def patient(seconds):
    """A time-out for something that will happen, on this machine."""
    return seconds * SLOWNESS


def wait_until(condition, timeout=20.0, what="the condition"):
    """Calls condition until it is true, and returns what it returned."""
    timeout = patient(timeout)
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s for {what}")
        time.sleep(0.02)


def url(address, path=""):
    return f"http://[{address}]/{path}" if ":" in address else f"http://{address}/{path}"


def _enter(namespace):
    if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def _words(command):
    words = shlex.split(command) if isinstance(command, str) else command
    return [str(word) for word in words]


class Namespace:
    """A network namespace: a host of the test's network."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = f"kgw-{os.getpid()}-{next(_numbers)}-{name}"
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self.run("ip link set lo up")
        self.sysctl("net.ipv6.conf.all.accept_dad", 0)
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)

    @contextlib.contextmanager
    def inside(self):
        """What this thread starts or opens meanwhile belongs to the namespace. Starting each command
        with "ip netns exec" would take ten times as long."""
        with open("/proc/thread-self/ns/net", "rb") as before, \
                open(f"/run/netns/{self.name}", "rb") as there:
            _enter(there)
            try:
                yield
            finally:
                _enter(before)

    def run(self, command, check=True, **options):
        """Runs a command to its end and returns a CompletedProcess with text."""
        options.setdefault("timeout", 120)
        options["timeout"] = patient(options["timeout"])
        with self.inside():
            result = subprocess.run(_words(command), capture_output=True, text=True, **options)
        if check and result.returncode != 0:
            raise AssertionError(f"{command}: status {result.returncode}\n"
                                 f"{result.stdout}{result.stderr}")
        return result

    def start(self, command, **options):
        """Starts a process that ends with the lab at the latest."""
        with self.inside():
            process = subprocess.Popen(_words(command), **options)
        self.lab.processes.append(process)
        return process

    def sysctl(self, name, value):
        with self.inside():
            pathlib.Path("/proc/sys", name.replace(".", "/")).write_text(str(value))

    def nft(self, rules):
        self.run(["nft", "-f", "-"], input=rules)

    def address(self, device, *addresses):
        for address in addresses:
            nodad = ["nodad"] if ":" in address else []
            self.run(["ip", "address", "add", address, "dev", device] + nodad)

    def forward(self):
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def default_route(self, *gateways):
        for gateway in gateways:
            family = "-6" if ":" in gateway else "-4"
            self.run(["ip", family, "route", "add", "default", "via", gateway])

    def listens(self, port):
        return f":{port} " in self.run("ss -Hltn").stdout


class Lab(contextlib.ExitStack):
    """The network of one test."""

    def __enter__(self):
        super().__enter__()
        self.namespaces = []
        self.processes = []
        self.daemons = []
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="knockgw-lab-"))
        self.folder.chmod(0o755)
        self.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.callback(self._remove_namespaces)
        self.callback(self._read_sanitizers)
        self.callback(self._stop_processes)
        return self

    def _read_sanitizers(self):
        """What they found in a daemon, at its end at the latest, fails the test, whatever it was about."""
        for daemon in self.daemons:
            if daemon.log_path.exists():
                text = daemon.log_path.read_text(encoding="utf-8", errors="replace")
                assert not re.search(r"(ERROR|WARNING): \w+Sanitizer|: runtime error: ", text), text

    def _stop_processes(self):
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=patient(10))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _remove_namespaces(self):
        for pid in self.pids(*self.namespaces):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        lines = "".join(f"netns delete {namespace.name}\n" for namespace in self.namespaces)
        subprocess.run(["ip", "-force", "-batch", "-"], input=lines, text=True, check=False)

    @staticmethod
    def pids(*namespaces):
        """The processes in these namespaces, also those that left our process tree."""
        wanted = {os.stat(f"/run/netns/{namespace.name}").st_ino for namespace in namespaces}
        found = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.stat(process / "ns/net").st_ino in wanted:
                    found.append(int(process.name))
        return found

    def namespace(self, name):
        namespace = Namespace(self, name)
        self.namespaces.append(namespace)
        return namespace

    def link(self, left, left_device, right, right_device):
        """Joins two namespaces by a veth pair."""
        subprocess.run(["ip", "link", "add", left_device, "netns", left.name, "type", "veth",
                        "peer", "name", right_device, "netns", right.name], check=True)
        left.run(["ip", "link", "set", left_device, "up"])
        right.run(["ip", "link", "set", right_device, "up"])

    def file(self, name, text, mode=0o600):
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def nginx(self, namespace, port, text):
        """A real nginx that answers every request with text, /who with the client's address, and
        /big with 100 MB. Returns its process."""
        root = self.folder / f"www-{namespace.name}-{port}"
        root.mkdir(exist_ok=True)
        (root / "index.html").write_text(text)
        with open(root / "big", "wb") as big:
            big.truncate(100 * 1000 * 1000)
        conf = self.file(f"nginx-{namespace.name}-{port}.conf", f"""
            daemon off; pid {root}.pid; error_log {root}.err; worker_processes 1;
            events {{ worker_connections 4096; }}
            http {{ access_log off; client_body_temp_path {root}.body;
              proxy_temp_path {root}.p; fastcgi_temp_path {root}.f; uwsgi_temp_path {root}.u;
              scgi_temp_path {root}.s; sendfile on; reset_timedout_connection on;
              server {{ listen {port}; listen [::]:{port}; root {root};
                location = /who {{ return 200 $remote_addr; }} }} }}""")
        root.chmod(0o755)
        process = namespace.start(["/usr/sbin/nginx", "-c", conf], stderr=subprocess.DEVNULL)
        wait_until(lambda: namespace.listens(port), what=f"nginx on port {port}")
        return process

    def tls_server(self, namespace, port, text):
        """A real nginx with a certificate of its own, which answers every request with text."""
        folder = self.folder / f"tls-{namespace.name}-{port}"
        folder.mkdir()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=lab", "-days", "1",
                        "-keyout", folder / "key", "-out", folder / "cert"], check=True,
                       capture_output=True)
        conf = self.file(f"{folder.name}.conf", f"""daemon off; pid {folder}/pid; error_log {folder}/log;
            events {{ }} http {{ access_log off; client_body_temp_path {folder}/b;
            proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u;
            scgi_temp_path {folder}/s; server {{ listen {port} ssl; listen [::]:{port} ssl;
            ssl_certificate {folder}/cert; ssl_certificate_key {folder}/key;
            location / {{ return 200 "{text}"; }} }} }}""")
        namespace.start(["/usr/sbin/nginx", "-c", conf], stderr=subprocess.DEVNULL)
        wait_until(lambda: namespace.listens(port), what=f"nginx on port {port}")

    def sshd(self, namespace, port):
        """A real sshd. Returns the ssh options with which a client may log in as root."""
        os.makedirs("/run/sshd", exist_ok=True)
        host, user = self.folder / f"host-{port}", self.folder / f"user-{port}"
        for key in (host, user):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        shutil.copy(f"{user}.pub", self.folder / "authorized_keys")
        conf = self.file(f"sshd-{port}.conf", f"""
Port {port}
HostKey {host}
PidFile none
AuthorizedKeysFile {self.folder}/authorized_keys
StrictModes no
PermitRootLogin yes
UsePAM no
""")
        namespace.start(["/usr/sbin/sshd", "-D", "-e", "-f", conf], stderr=subprocess.DEVNULL)
        wait_until(lambda: namespace.listens(port), what=f"sshd on port {port}")
        return ["-i", str(user), "-F", "none", "-o", "StrictHostKeyChecking=no",
                "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]

    def capture(self, namespace, device, expression="tcp"):
        """Starts tcpdump and returns the path of its file once it captures."""
        path = self.folder / f"capture-{next(_numbers)}.pcap"
        process = namespace.start(["tcpdump", "-p", "-i", device, "--immediate-mode", "-U", "-s", "0", "-w", path, "-Z", "root",
                                   expression], stderr=subprocess.PIPE, text=True)
        said = [process.stderr.readline()]
        # A cooked device has something to say before.
        while "listening on" not in said[-1]:
            assert said[-1], said
            said.append(process.stderr.readline())
        process.capture_path = path
        return process


class Daemon:
    """knockgw in a namespace."""

    def __init__(self, lab, namespace, config, program=None):
        self.namespace = namespace
        self.lab = lab
        self.program = program or KNOCKGW
        number = next(_numbers)
        self.control = lab.folder / f"control-{number}.sock"
        if "control =" not in config:
            config += f'\ncontrol = {{ socket = "{self.control}"; }};\n'
        # Files of a lab belong to root, whether or not this machine has a user knockgw.
        user = "" if re.search(r"^\s*user\s*=", config, re.M) else '\nuser = "root";\n'
        self.config = lab.file(f"knockgw-{number}.conf", config + user)
        self.log_path = self.config.with_suffix(".log")
        self.environment = {}
        self.process = None
        lab.daemons.append(self)

    def start(self, wait=True):
        with open(self.log_path, "a", encoding="utf-8") as log:
            self.process = self.namespace.start(
                [self.program, "--foreground", "--config", self.config], stderr=log,
                env={**os.environ, **self.environment})
        if wait:
            wait_until(lambda: self._ready() or self.process.poll() is not None,
                       what="knockgw: ready")
            assert self.process.poll() is None, self.log()
        return self

    def _ready(self):
        started = self.log().rsplit("event=stopped", 1)[-1]
        return "knockgw: ready" in started

    def log(self):
        return self.log_path.read_text()

    def events(self, **wanted):
        """Log lines as dictionaries; only those with these values."""
        found = []
        for line in self.log().splitlines():
            event = {key: value.strip('"') for key, value in
                     re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)}
            if event and all(event.get(key) == value for key, value in wanted.items()):
                found.append(event)
        return found

    def wait_event(self, **wanted):
        return wait_until(lambda: self.events(**wanted), what=f"log line {wanted}")

    def kill(self):
        """Dies as if by a crash."""
        self.process.kill()
        self.process.wait()
        # The next start must wait for a line of its own.
        self.log_path.write_text(self.log().replace("knockgw: ready", "knockgw: was ready"))

    def stop(self):
        self.process.terminate()
        status = self.process.wait(timeout=patient(20))
        self.log_path.write_text(self.log().replace("knockgw: ready", "knockgw: was ready"))
        return status

    def take_away(self):
        """Stops it, and removes the table that it leaves."""
        status = self.stop()
        self.namespace.run([KNOCKGW, "--remove-ruleset"])
        return status

    def knockctl(self, *arguments, check=True, **options):
        """Runs knockctl against this daemon."""
        command, *rest = arguments
        return self.namespace.run([KNOCKCTL, command, "--socket", self.control, *rest],
                                  check=check, **options)

    def ask(self, *arguments):
        """What knockctl says, as objects."""
        said = self.knockctl(arguments[0], "--json", *arguments[1:]).stdout
        return [json.loads(line) for line in said.splitlines()]

    def queued_packets(self, first=40, count=64, column=7):
        """How many packets the kernel has ever put into the daemon's queues."""
        total = 0
        listing = self.namespace.run("cat /proc/net/netfilter/nfnetlink_queue").stdout
        for line in listing.splitlines():
            fields = line.split()
            if first <= int(fields[0]) < first + count:
                total += int(fields[column])
        return total

    def waiting_packets(self):
        """How many of them have no verdict yet."""
        return self.queued_packets(column=2)
