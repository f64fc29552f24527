"""Gets a token by the client-credentials grant with Requests-OAuthlib, and writes the token response as JSON.

The client's method, the token endpoint, the client id and the secret come as JSON on standard input.
"""

import json
import sys

from oauthlib.oauth2 import BackendApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

given = json.load(sys.stdin)
client_id, client_secret = given["client_id"], given["client_secret"]
by_method = {
    "client_secret_basic": {"auth": HTTPBasicAuth(client_id, client_secret)},
    "client_secret_post": {"client_secret": client_secret, "include_client_id": True},
}
with OAuth2Session(client=BackendApplicationClient(client_id=client_id)) as session:
    token = session.fetch_token(given["token_endpoint"], **by_method[given["method"]])
json.dump(token, sys.stdout)
