"""Serves moto on a free loopback port, and writes its URL to the file named by the first argument.

moto keeps its state in plain dictionaries, so requests are answered one after the other. The connection closes
after each answer (HTTP/1.0), so that a client that keeps connections open does not keep the others waiting.
"""

import os
import sys

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Handler(WSGIRequestHandler):
    timeout = 5  # Seconds: a connection that sends nothing must not block the others.

    def log_request(self, *args):
        pass


def main(url_file):
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=False, request_handler=Handler)
    partial = url_file + ".partial"
    with open(partial, "w", encoding="ascii") as file:
        file.write(f"http://127.0.0.1:{server.port}")
    os.rename(partial, url_file)
    server.serve_forever()


main(sys.argv[1])
