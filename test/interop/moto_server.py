"""Serves moto on a free loopback port, and writes its URL to the file named by the first argument.

moto keeps its state in plain dictionaries, so requests are answered one after the other. The connection closes
after each answer (HTTP/1.0), so that a client that keeps connections open does not keep the others waiting.
"""

import os
import sys

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from moto.kms.models import KmsBackend
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


def sign_digest(self, key_id, message, signing_algorithm):
    """KMS's Sign with MessageType DIGEST, which moto ignores: it hashes once more. PSS has a salt as long as the hash."""
    key = self.describe_key(key_id)
    private_key = key.private_key.private_key
    prehashed = utils.Prehashed(hashes.SHA256())
    if signing_algorithm == "ECDSA_SHA_256":
        return key.arn, private_key.sign(message, ec.ECDSA(prehashed)), signing_algorithm
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
    scheme = pss if signing_algorithm == "RSASSA_PSS_SHA_256" else padding.PKCS1v15()
    return key.arn, private_key.sign(message, scheme, prehashed), signing_algorithm


KmsBackend.sign = sign_digest


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
