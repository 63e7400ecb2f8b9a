# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures knockgw against baselines of the same run: see bench/run."""
import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time

import chart
import knock_client
from lab import BUILD, KNOCKCTL, Daemon, Lab, wait_until
from topology import Direct

TRAFFIC = BUILD / "bench/traffic"
SERVER, PORT, SECRET = Direct.SERVER[0], 7000, "benchmark"
MAX_FLOWS = 262144


class Result:
    """Rates of a baseline and of what is measured, in pairs taken one after the other."""

    def __init__(self, name, baseline, unit, scale, aim=None):
        self.name, self.baseline, self.unit, self.scale, self.aim = name, baseline, unit, scale, aim
        self.pairs = []

    @property
    def ratios(self):
        return [measured / base for base, measured in self.pairs]

    @property
    def median(self):
        return statistics.median(self.ratios)

    def row(self):
        base, measured = (statistics.median(values) / self.scale for values in zip(*self.pairs))
        aim = f"{self.aim:.2f}" if self.aim else ""
        return (f"| {self.name} | {self.baseline} | {base:.1f} {self.unit} | {measured:.1f} "
                f"{self.unit} | **{self.median:.2f}** | {min(self.ratios):.2f} to "
                f"{max(self.ratios):.2f} | {aim} |")


class Bench:
    """client - gateway - server, without and with knockgw on the gateway."""

    def __init__(self, lab, seconds):
        self.lab, self.seconds = lab, seconds
        self.net = Direct(lab)
        for namespace in (self.net.client, self.net.server):
            namespace.sysctl("net.ipv4.ip_local_port_range", "1024 65535")
        # The same ISN again must not meet the TIME_WAIT of the last connection.
        self.net.server.sysctl("net.ipv4.tcp_max_tw_buckets", 0)
        self.net.server.start([TRAFFIC, "serve", PORT])
        wait_until(lambda: self.net.server.listens(PORT), what="the server")
        self.isn = f"{knock_client.token(KNOCKCTL, SECRET, SERVER, PORT):08x}"

    def offload(self, state):
        """Segmentation, reassembly and checksums by the devices, on all of them."""
        for namespace, devices in ((self.net.client, ["up0"]), (self.net.server, ["up0"]),
                                   (self.net.gateway, ["in0", "out0"])):
            for device in devices:
                namespace.run(["ethtool", "-K", device, "tx", state, "tso", state, "gso", state,
                               "gro", state])

    def traffic(self, what, *isn):
        said = self.net.client.run([TRAFFIC, what, SERVER, PORT, self.seconds, *isn]).stdout
        return float(said)

    @contextlib.contextmanager
    def knockgw(self, config):
        daemon = Daemon(self.lab, self.net.gateway, config).start()
        yield daemon
        daemon.kill()
        self.net.gateway.run("nft delete table inet knockgw")

    def egress(self):
        return self.knockgw(f"""egress = ( {{ name = "e"; destination = "{SERVER}"; port = {PORT};
            secret = "{SECRET}"; }} ); max_flows = {MAX_FLOWS};
            state_directory = "{self.lab.folder}/state"; log = {{ level = "warning"; }};""")

    def protect(self, queues=0):
        return self.knockgw(f"""services = ( {{ name = "p"; address = "{SERVER}"; port = {PORT};
            secret = "{SECRET}"; }} ); queues = {{ first = 40; count = {queues}; }};
            log = {{ level = "warning"; }};""")

    @contextlib.contextmanager
    def firewall(self):
        """What a gateway with a stateful firewall costs, without knockgw."""
        self.net.gateway.nft("""table inet firewall { chain f { type filter hook forward priority 0;
            ct state established,related accept; ct state invalid drop; }; }""")
        yield
        self.net.gateway.run("nft delete table inet firewall")

    @contextlib.contextmanager
    def accepting_consumers(self):
        """The egress rules, and in place of knockgw programs that hand every packet back at once."""
        with self.egress() as daemon:
            daemon.kill()
            queues = self.net.gateway.run("cat /proc/net/netfilter/nfnetlink_queue").stdout
            assert queues == "", "the queues of the daemon are still there"
            count = os.cpu_count()
            consumers = [self.net.gateway.start([TRAFFIC, "discard", queue, 60],
                                                stdout=subprocess.PIPE, text=True)
                         for queue in range(40 + count, 40 + 2 * count)]
            for consumer in consumers:
                assert consumer.stdout.readline() == "ready\n"
            yield
            for consumer in consumers:
                consumer.kill()
                consumer.wait()

    def compare(self, result, wrapped, what, *isn, base=None):
        """One pair. The client of the protect role sets its ISN, with and without a gateway."""
        with base or contextlib.nullcontext():
            base_rate = self.traffic(what, *isn)
        with wrapped:
            result.pairs.append((base_rate, self.traffic(what, *isn)))

    def rate_of_queue(self):
        """Packets that went through queue 40 in a second, under a flood of authorised SYNs."""
        flood = self.net.client.start([TRAFFIC, "flood", SERVER, PORT, self.seconds + 1, self.isn],
                                      stdout=subprocess.DEVNULL)
        packets = Daemon.queued_packets
        gateway = type("Queue", (), {"namespace": self.net.gateway})
        wait_until(lambda: packets(gateway, 40, 1) > 0, what="the flood")
        start, before = time.monotonic(), packets(gateway, 40, 1)
        flood.wait()
        return (packets(gateway, 40, 1) - before) / (time.monotonic() - start)

    def compare_syns(self, result):
        """The same chains, queue and flood: first a consumer that only accepts, then knockgw. What
        got through ends right behind the queue."""
        gateway = self.net.gateway
        gateway.run("ip route add 10.9.0.0/16 via 10.2.0.2")
        gateway.nft("""table inet sink { chain s { type filter hook forward priority -200;
                       ip saddr 10.9.0.0/16 drop; }; }""")
        with self.protect(queues=1) as daemon:
            measured = self.rate_of_queue()
            daemon.kill()
            consumer = gateway.start([TRAFFIC, "discard", 40, 60], stdout=subprocess.PIPE, text=True)
            assert consumer.stdout.readline() == "ready\n"
            base = self.rate_of_queue()
            consumer.kill()
            consumer.wait()
        gateway.run("nft delete table inet sink")
        gateway.run("ip route delete 10.9.0.0/16")
        result.pairs.append((base, measured))

    def memory_per_flow(self):
        files = list((self.lab.folder / "state").glob("flows-*"))
        return sum(path.stat().st_size for path in files) / MAX_FLOWS


def measure(bench, rounds):
    up = Result("egress, bulk to the server", "plain forwarding", "Gbit/s", 1.25e8, 0.65)
    down = Result("egress, bulk from the server", "plain forwarding", "Gbit/s", 1.25e8, 0.65)
    single = Result("egress, bulk, offloads off", "the same, plain", "Gbit/s", 1.25e8)
    rate = Result("egress, connections", "plain forwarding", "k/s", 1e3, 0.7)
    consumer_rate = Result("accepting consumers, connections", "plain forwarding", "k/s", 1e3)
    firewall_up = Result("firewall, bulk to the server", "plain forwarding", "Gbit/s", 1.25e8)
    firewall_rate = Result("firewall, connections", "plain forwarding", "k/s", 1e3)
    protect_up = Result("protect, bulk to the server", "plain forwarding", "Gbit/s", 1.25e8, 0.97)
    protect_down = Result("protect, bulk from the server", "plain forwarding", "Gbit/s", 1.25e8, 0.97)
    beside_up = Result("protect, bulk to the server", "stateful firewall", "Gbit/s", 1.25e8)
    beside_down = Result("protect, bulk from the server", "stateful firewall", "Gbit/s", 1.25e8)
    protect_rate = Result("protect, connections", "plain forwarding", "k/s", 1e3)
    syns = Result("protect, SYNs on one queue", "a consumer that only accepts", "k/s", 1e3)
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        bench.net.client.sysctl("net.ipv4.tcp_timestamps", 1)
        bench.compare(up, bench.egress(), "send")
        bench.compare(down, bench.egress(), "receive")
        bench.compare(rate, bench.egress(), "connect")
        bench.offload("off")
        bench.compare(single, bench.egress(), "send")
        bench.offload("on")
        bench.compare(consumer_rate, bench.accepting_consumers(), "connect")
        bench.compare(firewall_up, bench.firewall(), "send")
        bench.compare(firewall_rate, bench.firewall(), "connect")
        # The TSval of an authorised SYN must be known: none.
        bench.net.client.sysctl("net.ipv4.tcp_timestamps", 0)
        bench.compare(protect_up, bench.protect(), "send", bench.isn)
        bench.compare(protect_down, bench.protect(), "receive", bench.isn)
        bench.compare(beside_up, bench.protect(), "send", bench.isn, base=bench.firewall())
        bench.compare(beside_down, bench.protect(), "receive", bench.isn, base=bench.firewall())
        bench.compare(protect_rate, bench.protect(), "connect", bench.isn)
        bench.compare_syns(syns)
    return [up, down, single, rate, consumer_rate, protect_up, protect_down, beside_up,
            beside_down, protect_rate, firewall_up,
            firewall_rate, syns]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--svg", required=True)
    options = parser.parse_args()
    with Lab() as lab:
        bench = Bench(lab, options.seconds)
        results = measure(bench, options.rounds)
        memory = bench.memory_per_flow()
    print("| what | baseline | baseline's rate | rate | share | spread | aim |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(result.row() for result in results))
    print(f"\nMemory per egress flow: {memory:.0f} bytes.")
    with open(options.svg, "w", encoding="utf-8") as svg:
        svg.write(chart.draw(results))
    print(f"Plot: {options.svg}")


if __name__ == "__main__":
    main()
