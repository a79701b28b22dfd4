#!/usr/bin/env python3
"""metrics.k8s.io with made-up figures: what each pod uses stands in cpu.json of the bed's folder, by prefix of its name, in millicores."""
import http.client
import http.server
import json
import re
import ssl
import sys
import time
import urllib.parse

RUN, PORT = sys.argv[1], 9443
IP = "10.77.0.1"
GROUP = "metrics.k8s.io/v1beta1"
api = ssl.create_default_context(cafile=RUN + "/pki/ca.crt")
api.load_cert_chain(RUN + "/pki/admin.crt", RUN + "/pki/admin.key")


def pods(namespace, query):
    connection = http.client.HTTPSConnection(IP, 6443, context=api, timeout=10)
    connection.request("GET", f"/api/v1/namespaces/{namespace}/pods?{query}")
    return json.loads(connection.getresponse().read()).get("items") or []


def metrics(namespace, query):
    with open(RUN + "/cpu.json", encoding="utf-8") as file:
        uses = json.load(file)
    now, items = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), []
    for pod in pods(namespace, query):
        name = pod["metadata"]["name"]
        # The longest prefix has it: backend-primary- before backend-.
        milli = next((uses[p] for p in sorted(uses, key=len, reverse=True) if name.startswith(p)), 0)
        containers = [{"name": c["name"], "usage": {"cpu": f"{milli}m", "memory": "16Mi"}} for c in pod["spec"]["containers"]]
        items.append({"metadata": {"name": name, "namespace": namespace, "labels": pod["metadata"].get("labels")}, "timestamp": now, "window": "10s", "containers": containers})
    return {"kind": "PodMetricsList", "apiVersion": GROUP, "metadata": {}, "items": items}


class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, _, query = self.path.partition("?")
        query = urllib.parse.urlencode({k: v[0] for k, v in urllib.parse.parse_qs(query).items() if k == "labelSelector"})
        resources = [{"name": "pods", "singularName": "", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}]
        if path == f"/apis/{GROUP}":
            body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP, "resources": resources}
        elif found := re.fullmatch(f"/apis/{GROUP}/namespaces/([^/]+)/pods", path):
            body = metrics(found[1], query)
        else:
            return self.send_error(404)
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((IP, PORT), Metrics)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(RUN + "/pki/apiserver.crt", RUN + "/pki/apiserver.key")
server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
