# SPDX-License-Identifier: GPL-2.0-or-later
"""The networks that several tests use."""
import os

from lab import PYTHON, SOURCE


class Protected:
    """
    client ------------ nat ------------- gateway ------------ server
      10.1.0.2  10.1.0.1   10.2.0.2  10.2.0.1   10.3.0.1  10.3.0.2
      fd01::2    fd01::1    fd02::2   fd02::1    fd03::1   fd03::2

    nat masquerades. gateway also has the address 10.2.0.10 / fd02::10, where it offers what stands
    on server. server has no route to the client but through gateway.
    """
    GATEWAY = ("10.2.0.1", "fd02::1")
    FRONT = ("10.2.0.10", "fd02::10")
    SERVER = ("10.3.0.2", "fd03::2")

    def __init__(self, lab):
        self.client = lab.namespace("client")
        self.nat = lab.namespace("nat")
        self.gateway = lab.namespace("gateway")
        self.server = lab.namespace("server")
        lab.link(self.client, "up0", self.nat, "in0")
        lab.link(self.nat, "up0", self.gateway, "out0")
        lab.link(self.gateway, "in0", self.server, "up0")
        self.client.address("up0", "10.1.0.2/24", "fd01::2/64")
        self.nat.address("in0", "10.1.0.1/24", "fd01::1/64")
        self.nat.address("up0", "10.2.0.2/24", "fd02::2/64")
        self.gateway.address("out0", "10.2.0.1/24", "fd02::1/64", "10.2.0.10/24", "fd02::10/64")
        self.gateway.address("in0", "10.3.0.1/24", "fd03::1/64")
        self.server.address("up0", "10.3.0.2/24", "fd03::2/64")
        self.client.default_route("10.1.0.1", "fd01::1")
        self.nat.default_route("10.2.0.1", "fd02::1")
        self.server.default_route("10.3.0.1", "fd03::1")
        self.nat.forward()
        self.gateway.forward()
        self.nat.nft("""table inet nat { chain out { type nat hook postrouting priority srcnat;
                        oifname "up0" masquerade; }; }""")
        # The client of these tests cannot know the TSval of its SYN beforehand.
        self.client.sysctl("net.ipv4.tcp_timestamps", 0)


class Direct:
    """
    client ---------- gateway ----------- server
      10.2.0.2  10.2.0.1   10.3.0.1  10.3.0.2
      fd02::2    fd02::1    fd03::1   fd03::2

    gateway also has the address 10.2.0.10 / fd02::10, where it offers what stands on server.
    """
    CLIENT = ("10.2.0.2", "fd02::2")
    GATEWAY = ("10.2.0.1", "fd02::1")
    FRONT = ("10.2.0.10", "fd02::10")
    SERVER = ("10.3.0.2", "fd03::2")

    def __init__(self, lab):
        self.client = lab.namespace("client")
        self.gateway = lab.namespace("gateway")
        self.server = lab.namespace("server")
        lab.link(self.client, "up0", self.gateway, "out0")
        lab.link(self.gateway, "in0", self.server, "up0")
        self.client.address("up0", "10.2.0.2/24", "fd02::2/64")
        self.gateway.address("out0", "10.2.0.1/24", "fd02::1/64", "10.2.0.10/24", "fd02::10/64")
        self.gateway.address("in0", "10.3.0.1/24", "fd03::1/64")
        self.server.address("up0", "10.3.0.2/24", "fd03::2/64")
        self.client.default_route("10.2.0.1", "fd02::1")
        self.server.default_route("10.3.0.1", "fd03::1")
        self.gateway.forward()
        self.client.sysctl("net.ipv4.tcp_timestamps", 0)


class TwoGateways(Protected):
    """
    laptop ---------- egress ------------ nat ------------- gateway ------------ server
      10.0.0.2  10.0.0.1   10.1.0.2  10.1.0.1   10.2.0.2  10.2.0.1   10.3.0.1  10.3.0.2
      fd00::2    fd00::1    fd01::2   fd01::1    fd02::2   fd02::1    fd03::1   fd03::2

    knockgw runs on egress and on gateway. egress masquerades if asked to, nat always does.
    """
    LAPTOP = ("10.0.0.2", "fd00::2")

    def __init__(self, lab, masquerade=True):
        super().__init__(lab)
        self.egress = self.client
        self.laptop = lab.namespace("laptop")
        lab.link(self.laptop, "up0", self.egress, "in0")
        self.laptop.address("up0", "10.0.0.2/24", "fd00::2/64")
        self.egress.address("in0", "10.0.0.1/24", "fd00::1/64")
        self.laptop.default_route("10.0.0.1", "fd00::1")
        self.egress.forward()
        self.egress.sysctl("net.ipv4.tcp_timestamps", 1)
        if masquerade:
            self.egress.nft("""table inet nat { chain out { type nat hook postrouting priority srcnat;
                               oifname "up0" masquerade; }; }""")
        else:
            self.nat.run("ip -4 route add 10.0.0.0/24 via 10.1.0.2")
            self.nat.run("ip -6 route add fd00::/64 via fd01::2")


class Crossroads:
    """
    client ----------- gateway ----------- other
      10.2.0.2   10.2.0.1   10.4.0.1   10.4.0.2, 10.4.0.3, 10.4.1.2
      fd02::2     fd02::1    fd04::1    fd04::2, fd04::3, fd04:0:0:100::2

    The addresses of other lie in two prefixes (/24, /56). gateway has a hidden page on port 80.
    """
    CLIENT = ("10.2.0.2", "fd02::2")
    GATEWAY = ("10.2.0.1", "fd02::1")
    OTHER = ("10.4.0.2", "fd04::2")
    OTHER_SAME_PREFIX = ("10.4.0.3", "fd04::3")
    OTHER_PREFIX = ("10.4.1.2", "fd04:0:0:100::2")

    def __init__(self, lab):
        self.lab = lab
        self.client = lab.namespace("client")
        self.gateway = lab.namespace("gateway")
        self.other = lab.namespace("other")
        lab.link(self.client, "up0", self.gateway, "client0")
        lab.link(self.other, "up0", self.gateway, "other0")
        self.client.address("up0", "10.2.0.2/24", "fd02::2/64")
        self.gateway.address("client0", "10.2.0.1/24", "fd02::1/64")
        self.gateway.address("other0", "10.4.0.1/16", "fd04::1/48")
        self.other.address("up0", "10.4.0.2/16", "10.4.0.3/16", "10.4.1.2/16",
                           "fd04::2/48", "fd04::3/48", "fd04:0:0:100::2/48")
        self.client.default_route("10.2.0.1", "fd02::1")
        self.other.default_route("10.4.0.1", "fd04::1")
        for namespace in (self.client, self.other):
            namespace.sysctl("net.ipv4.tcp_timestamps", 0)
        # Sources may be forged.
        for device in ("all", "client0", "other0"):
            self.gateway.sysctl(f"net.ipv4.conf.{device}.rp_filter", 0)
        lab.nginx(self.gateway, 80, "hidden page")

    def attempts(self, namespace, address, isn, source="", count=1):
        """What came of count connections one after the other: the different results, sorted."""
        code = ("import sys, knock_client as k\n"
                "address, isn, source, count = sys.argv[1], *sys.argv[2:]\n"
                "results = set()\n"
                "for _ in range(int(count)):\n"
                "    try:\n"
                "        k.connect(address, 80, int(isn), 5, source=source).close()\n"
                "        results.add('open')\n"
                "    except OSError as error: results.add(type(error).__name__)\n"
                "print(*sorted(results))\n")
        return namespace.run([PYTHON, "-c", code, address, isn, source, count],
                             env={**os.environ, "PYTHONPATH": str(SOURCE / "tests/system")}
                             ).stdout.split()
