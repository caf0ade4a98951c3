"""URLs that need no signature of the one who uses them, for the clients that sign nothing. Source: "Authenticating
requests: using query parameters" of the S3 API reference. The AWS SDK for Python takes ten times as long for it."""

import datetime
import hashlib
import hmac
import urllib.parse

from services import ACCESS, REGION, SECRET

EXPIRES = 24 * 3600


class Signer:
    """Signs URLs of one service."""

    def __init__(self, endpoint, now=None):
        self.endpoint, self.host = endpoint, endpoint.partition("://")[2]
        now = now or datetime.datetime.now(datetime.UTC)
        self.time, self.scope = f"{now:%Y%m%dT%H%M%SZ}", f"{now:%Y%m%d}/{REGION}/s3/aws4_request"
        key = f"AWS4{SECRET}".encode()
        for word in self.scope.split("/"):
            key = hmac.digest(key, word.encode(), hashlib.sha256)
        self.key = key

    def url(self, method, bucket, key, **parameters):
        path = urllib.parse.quote(f"/{bucket}/{key}")
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{ACCESS}/{self.scope}",
            "X-Amz-Date": self.time, "X-Amz-Expires": str(EXPIRES), "X-Amz-SignedHeaders": "host",
        } | {name: str(value) for name, value in parameters.items()}
        text = "&".join(f"{name}={urllib.parse.quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
        request = f"{method}\n{path}\n{text}\nhost:{self.host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        signed = f"AWS4-HMAC-SHA256\n{self.time}\n{self.scope}\n{digest}"
        signature = hmac.new(self.key, signed.encode(), hashlib.sha256).hexdigest()
        return f"{self.endpoint}{path}?{text}&X-Amz-Signature={signature}"
