"""What a bucket refused with → a sentence that says what to do. Called by `s3`.

The reasons are the codes of S3's error documents, which other servers use too; what comes without
one (an answer to HEAD has no body) is told by its HTTP status.
"""

import re


class TooSlow(Exception):
    """Not `obstore`'s: the object comes, at less than can be waited for."""


_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_METADATA = "/latest/api/token"
"""Where a key is looked for last of all, on a machine of AWS."""
_REGION = "incorrectly configured region"

_KEY = "refuses the key ({code}): check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_EXPIRED = "refuses the key, which has run out ({code}): renew it and AWS_SESSION_TOKEN"
_ANOTHER_REGION = "is in another region: set AWS_REGION"
_DENIED = "denies {permission}: allow it, docs/storage.md shows the whole policy"
_BUSY = "is busy ({code}): it is asked again by and by"
_ADVICE = {
    "NoSuchBucket": "does not exist: create it, or mend STORAGE_URL",
    "InvalidAccessKeyId": _KEY,
    "SignatureDoesNotMatch": _KEY,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestTimeTooSkewed": "finds this machine's clock wrong: set it",
    "PermanentRedirect": _ANOTHER_REGION,
    "AuthorizationHeaderMalformed": _ANOTHER_REGION,
    "AccessDenied": _DENIED,
    "403": _DENIED,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "503": _BUSY,
    "429": _BUSY,
}


def code_of(error: Exception) -> str | None:
    """S3's code, such as `NoSuchKey`, else the HTTP status; None when there was no answer."""
    found = _CODE.search(str(error)) or _STATUS.search(str(error))
    return found[1] if found else None


def sentence_of(error: Exception, bucket: str, permission: str) -> str:
    """For operators and callers: it names the bucket, and neither its server nor any key."""
    text, code = str(error), code_of(error)
    if isinstance(error, TooSlow):
        advice = f"sends too slowly, {text}: see to its server and the network"
    elif _METADATA in text:
        advice = "cannot be asked without a key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    elif _REGION in text:
        advice = _ANOTHER_REGION
    elif code is None:
        advice = "does not answer: check AWS_ENDPOINT_URL, AWS_REGION and the network"
    else:
        advice = _ADVICE.get(code, "refuses ({code}): the log of its server says why")
    return f"the bucket {bucket} {advice.format(code=code, permission=permission)}"
