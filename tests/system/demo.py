# SPDX-License-Identifier: GPL-2.0-or-later
"""What scripts/demo shows: a scan, knockgw, the same scan, and an authorised client."""
import os
import subprocess
import sys

from lab import KNOCKCTL, PYTHON, SOURCE, Daemon, Lab
from topology import Protected

SECRET = "h:" + os.urandom(64).hex()
CONFIG = f"""services = (
  {{ name = "web"; address = [ "10.3.0.2", "fd03::2" ]; port = 80; secret = "{SECRET}"; }},
  {{ name = "ssh"; address = [ "10.3.0.2", "fd03::2" ]; port = 22; secret = "{SECRET}"; }}
);
"""
PICTURE = """
    client ---------- NAT ---------- gateway ---------- server
    scanner                          knockgw            nginx :80, sshd :22
    10.1.0.2, fd01::2                                   10.3.0.2, fd03::2
"""


class Show:
    """Prints what happens and remembers whether all of it was right."""

    def __init__(self):
        self.right = True

    @staticmethod
    def title(words):
        print(f"\n=== {words}\n", flush=True)

    def expect(self, words, condition):
        print(f"  {'ok    ' if condition else 'FAILED'}  {words}", flush=True)
        self.right = self.right and bool(condition)


def scan(net, address):
    """The states that nmap finds for ports 22, 80 and 4711, which nobody uses."""
    family = ["-6"] if ":" in address else []
    output = net.client.run(["nmap", "-n", "-Pn", "--reason", "-sS", *family, "-p", "22,80,4711",
                             address]).stdout
    lines = [line for line in output.splitlines() if "/tcp " in line]
    print(f"  $ nmap -sS -p 22,80,4711 {address}")
    print("\n".join(f"    {line}" for line in lines), flush=True)
    return [line.split()[1:2] + line.split()[3:] for line in lines]


def url(address):
    return f"http://[{address}]/" if ":" in address else f"http://{address}/"


def relay(net, address, port, listen):
    """An authorised client's helper: sets the ISN of its connections to the token."""
    process = net.client.start(
        [PYTHON, SOURCE / "tests/system/knock_client.py", "--knockctl", KNOCKCTL,
         "--listen", listen, address, port],
        env={**os.environ, "KNOCK_SECRET": SECRET}, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()


def authorised(net, show, ssh, address, number):
    web_port, ssh_port = 8000 + number, 2200 + number
    relay(net, address, 80, web_port)
    relay(net, address, 22, ssh_port)
    page = net.client.run(["curl", "-sS", f"http://127.0.0.1:{web_port}/"], check=False).stdout
    show.expect(f"with the secret, curl gets from {address}: {page}", page == "a hidden page")
    said = net.client.run(["ssh", *ssh, "-p", ssh_port, "root@127.0.0.1", "echo $SSH_CONNECTION"],
                          check=False).stdout.strip()
    show.expect(f"with the secret, ssh logs in at {address}: {said}", address in said)


def main():
    show = Show()
    with Lab() as lab:
        net = Protected(lab)
        lab.nginx(net.server, 80, "a hidden page")
        ssh = lab.sshd(net.server, 22)
        show.title("The network: namespaces of this demonstration" + PICTURE.rstrip())
        show.title("Without knockgw everybody sees both servers")
        for address in Protected.SERVER:
            found = scan(net, address)
            show.expect("22 and 80 are open", found[0][0] == found[1][0] == "open")
        daemon = Daemon(lab, net.gateway, CONFIG).start()
        show.title("knockgw runs on the gateway, with this configuration")
        print("  " + CONFIG.replace(SECRET, SECRET[:10] + "...").replace("\n", "\n  "))
        for address in Protected.SERVER:
            found = scan(net, address)
            show.expect("22 and 80 look like a port that nobody uses", found[0] == found[1] == found[2])
            status = net.client.run(["curl", "-sS", "-m", "5", url(address)], check=False).returncode
            show.expect("curl without the secret: connection refused", status == 7)
        show.title("A client that holds the secret")
        for number, address in enumerate(Protected.SERVER, 1):
            authorised(net, show, ssh, address, number)
        show.title("The gateway's log")
        for line in daemon.log().splitlines():
            print(f"  {line}")
        show.title("knockgw is killed: the ports are closed, not open")
        daemon.kill()
        for address in Protected.SERVER:
            found = scan(net, address)
            show.expect("22 and 80 look like a port that nobody uses", found[0] == found[1] == found[2])
    show.title("All as expected" if show.right else "Something was not as expected")
    return 0 if show.right else 1


if __name__ == "__main__":
    sys.exit(main())
