# SPDX-License-Identifier: GPL-2.0-or-later
"""The networks that several tests use."""


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
