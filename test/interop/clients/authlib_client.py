"""Gets a token by the client-credentials grant with Authlib, or introspects one, and writes the answer as JSON.

What is asked comes as JSON on standard input: `method`, `token_endpoint`, `client_id`; the proof, `client_secret`,
`workload_token` or `certificate` and `key`; `ca`, the authority of the broker's certificate; further `parameters`; and `introspect`, a token, with
its endpoint.
"""

import json
import sys

from authlib.common.urls import add_params_to_qs
from authlib.integrations.requests_client import OAuth2Session

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

given = json.load(sys.stdin)


def read_workload_token():
    return given["workload_token"]


def workload_token(client, method, uri, headers, body):
    parameters = {"client_assertion_type": JWT_BEARER, "client_assertion": read_workload_token()}
    body = add_params_to_qs(body or "", parameters)
    headers["Content-Length"] = str(len(body))
    return uri, headers, body


with OAuth2Session(
    given["client_id"],
    given.get("client_secret"),
    token_endpoint_auth_method=given["method"],
) as session:
    session.register_client_auth_method(("workload_token", workload_token))
    # The certificate says who the client is: RFC 8705 §2.
    session.register_client_auth_method(("tls_client_auth", lambda client, method, *rest: rest))
    if "certificate" in given:
        session.cert = (given["certificate"], given["key"])
    if "ca" in given:
        session.verify = given["ca"]
    if "introspect" in given:
        response = session.introspect_token(given["introspection_endpoint"], token=given["introspect"])
        response.raise_for_status()
        answer = response.json()
    else:
        parameters = given.get("parameters", {})
        answer = session.fetch_token(given["token_endpoint"], grant_type="client_credentials", **parameters)
json.dump(answer, sys.stdout)
