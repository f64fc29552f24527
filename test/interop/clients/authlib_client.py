"""Gets a token by the client-credentials grant with Authlib, and writes the token response as JSON.

The client's method, the token endpoint, the client id and the secret come as JSON on standard input.
"""

import json
import sys

from authlib.integrations.requests_client import OAuth2Session

given = json.load(sys.stdin)
with OAuth2Session(
    given["client_id"],
    given["client_secret"],
    token_endpoint_auth_method=given["method"],
) as session:
    token = session.fetch_token(given["token_endpoint"], grant_type="client_credentials")
json.dump(token, sys.stdout)
