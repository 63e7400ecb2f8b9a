# SPDX-License-Identifier: GPL-2.0-or-later
"""Metrics of running daemons, read by curl and judged by promtool.

laptop --- egress --- nat --- gateway --- server        (TwoGateways in topology.py)

knockgw runs on egress and on gateway, and serves metrics on the loopback address of each.
"""
import json
import re
import socket
import subprocess

import pytest

import egress_net
from egress_net import PROTECT, Net, egress_config, get
from lab import PYTHON, SOURCE, Daemon, wait_until
from topology import Direct

DOCS = SOURCE / "docs/monitoring"
GOLDEN = SOURCE / "tests/data/metrics"
LISTEN = 'metrics = { listen = "127.0.0.1:9477"; };\n'


def scrape(namespace, *options, where="http://127.0.0.1:9477/metrics"):
    return namespace.run(["curl", "-sS", "-m", "20", *options, where], check=False).stdout


def samples(text):
    """{name: {labels: value}}"""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
            found.setdefault(name, {})[labels or ""] = float(value)
    return found


def families(text):
    return set(re.findall(r"(?m)^# TYPE (\w+) ", text))


@pytest.fixture
def net(lab, monkeypatch):
    monkeypatch.setattr(egress_net, "PROTECT", PROTECT + LISTEN)
    return Net(lab, more=LISTEN)


def promtool(text):
    return subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                          text=True, check=False)


def test_metrics_of_both_roles(net):
    server = net.SERVER[0]
    assert get(net.laptop, server) == "a hidden page"
    assert get(net.nat, server) == ""
    for namespace in (net.gateway, net.egress):
        checked = promtool(scrape(namespace))
        assert checked.returncode == 0 and checked.stdout + checked.stderr == ""
    protect = samples(scrape(net.gateway))
    packets = protect["knockgw_packets_total"]
    assert packets['role="protect",service="web",key="1",reason="token-valid"'] == 1
    assert packets['role="protect",service="web",key="",reason="token-wrong"'] == 1
    assert packets['role="protect",service="ssh",key="1",reason="token-valid"'] == 0
    verdicts = protect["knockgw_verdicts_total"]
    assert verdicts['role="protect",service="web",key="",verdict="reject"'] == 1
    assert sum(verdicts.values()) == sum(packets.values()) == \
        sum(protect["knockgw_queue_packets_total"].values())
    duration = protect["knockgw_verdict_duration_seconds_bucket"]
    assert duration['role="protect",le="+Inf"'] == sum(packets.values())
    assert 0 < protect["knockgw_verdict_duration_seconds_sum"]['role="protect"'] < 10
    ordered = list(duration.values())
    assert ordered == sorted(ordered) and len(ordered) == 15
    wait_until(lambda: sum(samples(scrape(net.egress))["knockgw_flows"].values()) == 1,
               what="the flow to be counted")
    egress = samples(scrape(net.egress))
    assert egress["knockgw_packets_total"]['role="egress",service="branch",key="1",reason="token-written"'] == 1
    assert egress["knockgw_flows_limit"][""] == 262144
    assert set(egress["knockgw_flows"]) == {f'state="{state}"' for state in (
        "syn-sent", "syn-received", "established", "fin-wait", "time-wait", "closed")}
    check_golden("protect.expected", scrape(net.gateway))


def check_golden(name, text):
    """Values that depend on time and machine are replaced. Regenerate with KNOCKGW_TEST_UPDATE=1."""
    import os
    text = re.sub(r"(?m)^((?:process_start|knockgw_config_loaded|knockgw_verdict_duration|"
                  r"knockgw_queue_packets)\w*(?:\{.*\})?) \S+$", r"\1 #", text)
    path = GOLDEN / name
    if os.environ.get("KNOCKGW_TEST_UPDATE"):
        path.write_text(text)
    assert text == path.read_text()


def test_documents_name_what_there_is(net):
    """Every metric in the dashboard and in the alert rules exists, and every metric is shown."""
    exist = families(scrape(net.gateway)) | families(scrape(net.egress))
    dashboard = json.loads((DOCS / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = set(re.findall(r"\b(?:knockgw|process)_\w+", " ".join(expressions)))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert shown == exist
    rules = (DOCS / "alerts.yml").read_text()
    used = set(re.findall(r"\bknockgw_\w+", rules))
    assert {re.sub(r"_bucket$", "", name) for name in used} <= exist
    checked = subprocess.run(["promtool", "check", "rules", DOCS / "alerts.yml"],
                             capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    # Expressions of the dashboard, with Grafana's variables filled in, are PromQL.
    filled = [re.sub(r"\$__rate_interval", "5m", text).replace("$instance", ".*") for text in expressions]
    rule_file = net.lab.file("dashboard.yml", json.dumps({"groups": [{"name": "dashboard", "rules": [
        {"record": f"panel:query:{number}", "expr": text} for number, text in enumerate(filled)]}]}))
    checked = subprocess.run(["promtool", "check", "rules", rule_file],
                             capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


SERVICE = """services = ( { name = "web"; address = "10.2.0.1"; port = 80; secret = "first"; } );
queues = { first = 40; count = 1; };
"""


@pytest.fixture
def gateway(lab):
    net = Direct(lab)
    net.lab = lab
    return net


def test_nothing_listens_by_default(gateway):
    Daemon(gateway.lab, gateway.gateway, SERVICE).start()
    assert gateway.gateway.run("ss -Hltn").stdout == ""


def test_only_metrics_are_there(gateway):
    Daemon(gateway.lab, gateway.gateway, SERVICE + LISTEN).start()
    status = ["-o", "/dev/null", "-w", "%{http_code}"]
    here = "http://127.0.0.1:9477"
    assert scrape(gateway.gateway, *status) == "200"
    for path in ("", "/", "/metrics/", "/metrics/x", "/..%2fmetrics", "/favicon.ico"):
        assert scrape(gateway.gateway, *status, where=here + path) == "404"
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert scrape(gateway.gateway, *status, "-X", method) in ("405", "501")
    assert scrape(gateway.gateway, *status, "-d", "x" * 100000) != "200"
    assert scrape(gateway.gateway, *status, "-H", "X-Long: " + "x" * 8000) != "200"
    # Other hosts cannot reach it.
    assert scrape(gateway.client, where="http://10.2.0.1:9477/metrics") == ""


def test_unix_socket_and_ipv6(gateway):
    path = gateway.lab.folder / "metrics.sock"
    daemon = Daemon(gateway.lab, gateway.gateway, SERVICE + f'metrics = {{ listen = "{path}"; }};').start()
    text = scrape(gateway.gateway, "--unix-socket", path, where="http://localhost/metrics")
    assert promtool(text).returncode == 0 and "knockgw_build_info{" in text
    assert path.stat().st_mode & 0o777 == 0o600
    daemon.stop()
    assert not path.exists()
    Daemon(gateway.lab, gateway.gateway, SERVICE + 'metrics = { listen = "[::1]:9477"; };').start()
    assert "knockgw_build_info{" in scrape(gateway.gateway, where="http://[::1]:9477/metrics")


def test_address_in_use_is_an_error(gateway):
    listener = gateway.gateway.start([PYTHON, "-c", "import socket, time\n"
                                      "s = socket.create_server(('127.0.0.1', 9477))\n"
                                      "print('ready', flush=True)\ntime.sleep(100)"],
                                     stdout=subprocess.PIPE, text=True)
    assert listener.stdout.readline() == "ready\n"
    daemon = Daemon(gateway.lab, gateway.gateway, SERVICE + LISTEN)
    assert daemon.start(wait=False).process.wait(timeout=20) == 1
    assert "127.0.0.1:9477: Address already in use" in daemon.log()


STUCK = """
import resource, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
for number in range(300):
    s = socket.create_connection(('127.0.0.1', 9477), 10)
    s.sendall([b'', b'GET /met', b'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n', b'\\0' * 100][number % 4])
    held.append(s)
print('stuck', flush=True)
sys.stdin.read()
"""

def test_stuck_clients_and_load(gateway):
    """Connections that never finish their request take no place from others, under a flood of SYNs."""
    daemon = Daemon(gateway.lab, gateway.gateway, SERVICE + LISTEN).start()
    stuck = gateway.gateway.start([PYTHON, "-c", STUCK], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
    assert stuck.stdout.readline() == "stuck\n"
    flood = gateway.client.start([PYTHON, SOURCE / "tests/system/syn_flood.py", "10.2.0.2", "10.2.0.1", 80, 5000])
    texts = []
    while flood.poll() is None:
        texts.append(scrape(gateway.gateway))
    assert flood.returncode == 0 and texts
    counts = [sum(samples(text)["knockgw_packets_total"].values()) for text in texts]
    assert counts == sorted(counts)
    name = 'role="protect",service="web",key="",reason="token-wrong"'
    lost = lambda found: sum(sum(found[f"knockgw_queue_{kind}_packets_total"].values())
                             for kind in ("overrun", "enobufs"))
    final = lambda: samples(scrape(gateway.gateway))
    wait_until(lambda: (found := final())["knockgw_packets_total"][name] + lost(found) == 5000,
               what="all SYNs to be counted")
    assert daemon.process.poll() is None and "ERROR" not in daemon.log()
    descriptors = gateway.gateway.run(["ls", f"/proc/{daemon.process.pid}/fd"]).stdout.split()
    assert len(descriptors) < 100
