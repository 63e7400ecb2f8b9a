# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/demo shows: a scan, knockgw on both sides, the same scan, and unmodified clients."""
import os
import subprocess
import sys

from lab import KNOCKCTL, PYTHON, SOURCE, Daemon, Lab, url, wait_until
from topology import TwoGateways

SECRET = "h:" + os.urandom(64).hex()
PROTECT = f"""services = (
  {{ name = "web"; address = [ "10.3.0.2", "fd03::2" ]; port = 80; secret = "{SECRET}"; }},
  {{ name = "ssh"; address = [ "10.3.0.2", "fd03::2" ]; port = 22; secret = "{SECRET}"; }}
);
"""
# To the end of the client's public key and beyond it: see docs/deploy.md.
CHECKED = 400
INTEGRITY = f"""services = (
  {{ name = "tls"; address = [ "10.3.0.2", "fd03::2" ]; port = 443; secret = "{SECRET}";
    integrity = {CHECKED}; reassemble = true; }}
);
"""
EGRESS = f"""egress = (
  {{ name = "office"; destination = [ "10.3.0.2", "fd03::2" ]; port = [ 22, 80 ];
    secret = "{SECRET}"; }}
);
"""
EGRESS_INTEGRITY = f"""egress = (
  {{ name = "tls"; destination = [ "10.3.0.2", "fd03::2" ]; port = 443; secret = "{SECRET}";
    integrity = {CHECKED}; }}
);
"""
MEANING = f"""Who can change packets on the way can wait for the handshake and then take over the connection.
With integrity = {CHECKED} the server gets no byte before the client's first {CHECKED} bytes have been checked
against the token. That is worth something where the client speaks first and these bytes hold its
public key: the ClientHello of TLS 1.3, Noise, WireGuard over TCP, HTTP/2 if they reach beyond the
preface. By itself it does not help SSH: its first bytes are a version that everybody knows, and the
keys come later, in bytes that nobody checks.

"""
PICTURE = """
    laptop ------ egress gateway ------ NAT ------ protect gateway ------ server
    curl, ssh     knockgw                          knockgw     |          nginx :80, sshd :22
    10.0.0.2      10.1.0.2                                     |          10.3.0.2, fd03::2
    fd00::2                                                 scanner
"""


class Show:
    """Prints what happens and remembers whether all of it was right."""

    def __init__(self):
        self.right = True

    @staticmethod
    def title(words):
        print(f"\n=== {words}\n", flush=True)

    @staticmethod
    def text(words):
        print("\n".join(f"  {line}".rstrip() for line in words.splitlines()), flush=True)

    def expect(self, words, condition):
        print(f"  {'ok    ' if condition else 'FAILED'}  {words}", flush=True)
        self.right = self.right and bool(condition)


def scan(scanner, address):
    """The states that nmap finds for ports 22, 80 and 4711, which nobody uses."""
    family = ["-6"] if ":" in address else []
    output = scanner.run(["nmap", "-n", "-Pn", "--reason", "-sS", *family, "-p", "22,80,4711",
                          address]).stdout
    lines = [line for line in output.splitlines() if "/tcp " in line]
    print(f"  scanner$ nmap -sS -p 22,80,4711 {address}")
    print("\n".join(f"    {line}" for line in lines), flush=True)
    return [line.split()[1:2] + line.split()[3:] for line in lines]


def nothing_to_see(show, scanner):
    for address in TwoGateways.SERVER:
        found = scan(scanner, address)
        show.expect("22 and 80 look like a port that nobody uses", found[0] == found[1] == found[2])


def clients_get_in(show, namespace, who, ssh):
    for address in TwoGateways.SERVER:
        page = namespace.run(["curl", "-sS", "-m", "10", url(address)], check=False).stdout
        show.expect(f"{who}$ curl {url(address)}: {page}", page == "a hidden page")
        said = namespace.run(["ssh", *ssh, f"root@{address}", "echo $SSH_CONNECTION"],
                             check=False).stdout.strip()
        show.expect(f"{who}$ ssh {address}: {said}", address in said)


def build_network(lab):
    net = TwoGateways(lab)
    net.scanner = lab.namespace("scanner")
    lab.link(net.scanner, "up0", net.gateway, "out1")
    net.scanner.address("up0", "10.4.0.2/24", "fd04::2/64")
    net.gateway.address("out1", "10.4.0.1/24", "fd04::1/64")
    net.scanner.default_route("10.4.0.1", "fd04::1")
    return net


def play(show, lab):
    net = build_network(lab)
    lab.nginx(net.server, 80, "a hidden page")
    ssh = lab.sshd(net.server, 22)
    show.title("The network: namespaces of this demonstration" + PICTURE.rstrip())
    show.title("Without knockgw everybody sees both servers")
    for address in TwoGateways.SERVER:
        found = scan(net.scanner, address)
        show.expect("22 and 80 are open", found[0][0] == found[1][0] == "open")

    protect = Daemon(lab, net.gateway, PROTECT).start()
    show.title("knockgw runs on the protect gateway, with this configuration")
    show.text(PROTECT.replace(SECRET, SECRET[:10] + "..."))
    nothing_to_see(show, net.scanner)
    status = net.laptop.run(["curl", "-sS", "-m", "5", url("10.3.0.2")], check=False).returncode
    show.expect("laptop$ curl http://10.3.0.2/: connection refused", status == 7)

    state = f'state_directory = "{lab.folder}/state";\n'
    Daemon(lab, net.egress, EGRESS + state).start()
    show.title("knockgw runs on the egress gateway, too: nothing changes on the laptop")
    show.text(EGRESS.replace(SECRET, SECRET[:10] + "..."))
    clients_get_in(show, net.laptop, "laptop", ssh)
    show.title("The connections that the egress gateway translates")
    print("  egress$ knockctl flows")
    show.text(net.egress.run([KNOCKCTL, "flows", "--state-directory", lab.folder / "state"]).stdout)
    show.title("The scanner still sees nothing")
    nothing_to_see(show, net.scanner)

    show.title("The protect gateway's log")
    show.text(protect.log())
    protect.kill()
    show.title("knockgw is killed on the protect gateway: the ports are closed, not open")
    nothing_to_see(show, net.scanner)


def count_data(namespace):
    """Counts the segments with data that reach the server."""
    namespace.nft("""table inet count { chain in { type filter hook input priority 0;
        tcp dport 443 tcp flags & psh == psh counter; }; }""")


def segments_with_data(namespace):
    return int(namespace.run("nft list table inet count").stdout.split("packets ")[1].split()[0])


def curl_over_tls(namespace, page):
    return namespace.run(["curl", "-sS", "-k", "-m", "10", page], check=False).stdout


def show_integrity(show, lab):
    """A gateway with integrity mode: first a client that computes the token itself, as Knock's does,
    then an egress gateway that does it for curl."""
    net = TwoGateways(lab)
    lab.tls_server(net.server, 443, "a hidden page over TLS")
    count_data(net.server)
    net.laptop.sysctl("net.ipv4.tcp_timestamps", 0)
    protect = Daemon(lab, net.gateway, INTEGRITY).start()
    show.title(f"Integrity mode: the token covers the first {CHECKED} bytes of the client, too")
    show.text(MEANING + INTEGRITY.replace(SECRET, SECRET[:10] + "..."))
    environment = {**os.environ, "KNOCK_SECRET": SECRET}
    for address in TwoGateways.SERVER:
        command = [PYTHON, SOURCE / "tests/system/tls_client.py", KNOCKCTL, address, 443, CHECKED]
        before = segments_with_data(net.server)
        said = net.laptop.run([*command, "changed"], env=environment).stdout
        show.expect(f"one bit changed on the way to {address}: {said}",
                    said == "ConnectionResetError")
        show.expect("not one byte of it reached the server",
                    segments_with_data(net.server) == before)
        said = net.laptop.run(command, env=environment).stdout
        show.expect(f"the same TLS client, untouched: {said}", said == "a hidden page over TLS")
    show.text(protect.log())
    state = f'state_directory = "{lab.folder}/state";\n'
    net.laptop.sysctl("net.ipv4.tcp_timestamps", 1)
    Daemon(lab, net.egress, EGRESS_INTEGRITY + state).start()
    show.title("With knockgw on the egress gateway curl does it, as it is")
    show.text(EGRESS_INTEGRITY.replace(SECRET, SECRET[:10] + "..."))
    for address in TwoGateways.SERVER:
        page = url(address).replace("http:", "https:")
        for _ in range(2):
            said = curl_over_tls(net.laptop, page)
            show.expect(f"laptop$ curl -k {page}: {said}", said == "a hidden page over TLS")
    print("  egress$ knockctl flows")
    show.text(net.egress.run([KNOCKCTL, "flows", "--state-directory", lab.folder / "state"]).stdout)


def main():
    show = Show()
    with Lab() as lab:
        play(show, lab)
    with Lab() as lab:
        show_integrity(show, lab)
    show.title("All as expected" if show.right else "Something was not as expected")
    return 0 if show.right else 1


if __name__ == "__main__":
    sys.exit(main())
