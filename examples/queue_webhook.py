"""Submit and leave: the result arrives at a webhook that checks its signature: `python queue_webhook.py photos.zip`.

fal has to reach the webhook: give the public address of this program's port as the second argument. The signature is
checked as https://docs.fal.ai/model-endpoints/webhooks describes it: an Ed25519 signature, by a key of fal's key set,
over the request's id, the user's id, a timestamp and the SHA-256 of the body.
"""

import base64
import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import fal_client
import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEY_SET = "https://rest.fal.ai/.well-known/jwks.json"
LATEST = 300  # seconds; an older message may be a repeated one


def signed_by_fal(headers: dict[str, str], body: bytes) -> bool:
    request, user, sent, signature = (
        headers[f"x-fal-webhook-{name}"] for name in ("request-id", "user-id", "timestamp", "signature")
    )
    if abs(time.time() - int(sent)) > LATEST:
        return False
    message = "\n".join((request, user, sent, hashlib.sha256(body).hexdigest())).encode()
    for key in httpx.get(KEY_SET).raise_for_status().json()["keys"]:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "=="))
        try:
            public.verify(bytes.fromhex(signature), message)
        except InvalidSignature:
            continue
        return True
    return False


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        genuine = signed_by_fal({name.lower(): value for name, value in self.headers.items()}, body)
        self.send_response(200 if genuine else 403)
        self.end_headers()
        if genuine:
            self.server.told = json.loads(body)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        pass


with HTTPServer(("127.0.0.1", 0), Webhook) as server:
    address = sys.argv[2] if len(sys.argv) > 2 else f"http://127.0.0.1:{server.server_port}"
    handle = fal_client.submit(
        "fal-ai/photomaker",
        arguments={
            "image_archive_url": fal_client.upload_file(sys.argv[1]),
            "prompt": "portrait photo of a man img, smiling",
            "num_inference_steps": 20,
        },
        webhook_url=address,
    )
    print(f"submitted {handle.request_id}")
    server.told = None  # type: ignore[attr-defined]
    while server.told is None:  # type: ignore[attr-defined]
        server.handle_request()
    told = server.told  # type: ignore[attr-defined]
    print(f"{told['request_id']}: {told['status']}, {len(told['payload']['images'])} picture")
