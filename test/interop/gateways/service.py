"""A service behind a gateway: answers with who calls, as the gateway says."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Service(BaseHTTPRequestHandler):
    def do_GET(self):
        names = ("Kind", "Subject", "Client", "Issuer")
        said = {name: self.headers.get_all(f"X-Principal-{name}", []) for name in names}
        body = json.dumps({name: [unquote(value) for value in values] for name, values in said.items()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
print(server.server_port, flush=True)
sys.stdin.close()
server.serve_forever()
