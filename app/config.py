"""Settings: read once at start, from the environment and from `.env` for what it lacks.

`.env.example` lists every one of them; a test holds the two together.
"""

import base64
import ipaddress
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.addresses import parse_allowed_addresses
from app.errors import SettingsError
from app.fetch_headers import FetchHeaders, read_fetch_headers
from app.keys import Keys, parse_api_keys
from app.models import OutputFormat, RateLimit

VERSION = "0.1.0"
PROJECT_DIR = Path(__file__).resolve().parents[1]

Count = Annotated[int, Field(ge=1)]

_BUCKET = re.compile(r"s3://[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9](/[A-Za-z0-9._-]+)*/?")
_RATE = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour|day)", re.ASCII)
_PERIOD_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}


class Settings(BaseSettings):
    """What the operator can choose. Immutable; paths are absolute."""

    model_config = SettingsConfigDict(
        env_file=PROJECT_DIR / ".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    base_url: str = ""
    api_keys: SecretStr = SecretStr("")
    allow_open: bool = False
    cors_origins: str = ""
    trusted_proxies: Annotated[int, Field(ge=0, le=10)] = 0
    rate_limit: str = ""
    web_threads: Annotated[int, Field(ge=2, le=512)] = 16

    mongodb_uri: SecretStr = SecretStr("")
    mongodb_database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,38}$")] = "image_processor"
    data_dir: Path = Path(".data")
    upload_dir: Path = Path("uploads")
    processed_dir: Path = Path("processed")
    output_dir: Path = Path("outputs")
    min_free_bytes: Annotated[int, Field(ge=0)] = 2_147_483_648

    storage_url: str = ""
    s3_public_url: str = ""
    aws_endpoint_url: str = ""
    aws_region: str = ""
    aws_access_key_id: str = ""
    aws_secret_access_key: SecretStr = SecretStr("")
    aws_session_token: SecretStr = SecretStr("")

    engine: Literal["threads", "celery"] = "threads"
    celery_broker_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    worker_processes: Annotated[int, Field(ge=0, le=64)] = 0
    download_workers: Annotated[int, Field(ge=1, le=1024)] = 64
    compress_workers: Annotated[int, Field(ge=1, le=256)] = len(os.sched_getaffinity(0))
    per_host_connections: Annotated[int, Field(ge=1, le=1024)] = 32
    image_quality: Annotated[int, Field(ge=1, le=95)] = 50
    output_format: OutputFormat = OutputFormat.AUTO
    jpeg_optimize: bool = True

    fetch_timeout_seconds: Annotated[float, Field(gt=0, le=180)] = 60
    user_agent: str = ""
    fetch_headers_file: str = ""
    proxy_url: str = ""
    ca_bundle: str = ""
    allowed_addresses: str = ""

    max_csv_bytes: Count = 268_435_456
    max_csv_rows: Count = 1_000_000
    max_image_bytes: Count = 52_428_800
    max_image_pixels: Count = 50_000_000
    max_image_frames: Count = 200

    webhook_secret: SecretStr = SecretStr("")

    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 0

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = "text"

    @field_validator("data_dir", "upload_dir", "processed_dir", "output_dir")
    @classmethod
    def _relative_to_the_project(cls, path: Path) -> Path:
        return (PROJECT_DIR / path.expanduser()).resolve()

    @field_validator("allowed_addresses")
    @classmethod
    def _addresses_parse(cls, text: str) -> str:
        parse_allowed_addresses(text)
        return text

    @field_validator("api_keys")
    @classmethod
    def _keys_parse(cls, keys: SecretStr) -> SecretStr:
        parse_api_keys(keys.get_secret_value())
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _origins_parse(cls, text: str) -> str:
        for origin in _parts(text):
            if not _is_origin(origin):
                raise ValueError(
                    f"{origin!r} is not an origin such as https://shop.example.com, in lower case "
                    "and without a path"
                )
        return text

    @field_validator("rate_limit")
    @classmethod
    def _rate_parses(cls, text: str) -> str:
        if text and not _RATE.fullmatch(text):
            raise ValueError(f"{text!r} is not a rate such as 60/minute; second, hour and day too")
        return text

    @field_validator("mongodb_uri")
    @classmethod
    def _is_a_mongodb_uri(cls, uri: SecretStr) -> SecretStr:
        text = uri.get_secret_value()
        if text and not text.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("it begins with mongodb:// or mongodb+srv://")
        return uri

    @field_validator("celery_broker_url")
    @classmethod
    def _is_a_broker(cls, url: SecretStr) -> SecretStr:
        schemes = ("redis://", "rediss://", "redis+socket://", "amqp://", "amqps://")
        if not url.get_secret_value().startswith(schemes):
            raise ValueError(f"it begins with one of {', '.join(schemes)}")
        return url

    @field_validator("webhook_secret")
    @classmethod
    def _secrets_are_strong(cls, secrets: SecretStr) -> SecretStr:
        for secret in secrets.get_secret_value().split():
            _check_webhook_secret(secret)
        return secrets

    @field_validator("aws_endpoint_url")
    @classmethod
    def _is_for_us(cls, url: str, info: ValidationInfo) -> str:
        """Without a bucket, what other programs read is no fault of ours."""
        return cls._is_an_http_url(url) if info.data.get("storage_url") else ""

    @field_validator("base_url", "s3_public_url")
    @classmethod
    def _is_an_http_url(cls, url: str) -> str:
        if "@" in url.partition("://")[2].partition("/")[0]:  # it would be seen by others
            raise ValueError("it may hold no user name or password")
        if url and ("?" in url or "#" in url or not _is_url(url, ("http", "https"))):
            raise ValueError(f"{url!r} is not a URL such as https://images.example.com")
        return url.rstrip("/")

    @field_validator("storage_url")
    @classmethod
    def _is_a_bucket(cls, url: str) -> str:
        if url and (not _BUCKET.fullmatch(url) or {".", ".."} & set(url.split("/"))):
            raise ValueError(f"{url!r} is no bucket such as s3://name or s3://name/prefix")
        return url.rstrip("/")

    @field_validator("proxy_url")
    @classmethod
    def _is_a_proxy(cls, url: str) -> str:
        if url and not _is_url(url, ("http", "https", "socks4", "socks4a", "socks5", "socks5h")):
            raise ValueError("it is not a URL such as http://proxy.example.com:3128")
        return url  # never shown: it may hold a password

    @field_validator("fetch_headers_file")
    @classmethod
    def _headers_parse(cls, name: str) -> str:
        path = PROJECT_DIR / name
        try:
            if name:
                read_fetch_headers(path)
        except OSError as error:
            raise ValueError(f"{name!r} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{name!r}, {error}") from error
        return name and str(path)

    @field_validator("ca_bundle")
    @classmethod
    def _is_a_file(cls, name: str) -> str:
        path = PROJECT_DIR / name
        if name and not path.is_file():
            raise ValueError(f"there is no file {name!r}")
        return name and str(path)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Defaults that depend on other settings."""
        host = str(values.get("host") or cls.model_fields["host"].default)
        port = values.get("port") or cls.model_fields["port"].default
        if not values.get("base_url"):
            if host in ("0.0.0.0", "::"):  # noqa: S104 (compared, not bound)
                raise ValueError(
                    f"BASE_URL is needed with HOST={host}: it is what output URLs begin with"
                )
            shown_host = f"[{host}]" if ":" in host else host
            values["base_url"] = f"http://{shown_host}:{port}"
        if not values.get("user_agent"):
            values["user_agent"] = f"Pressroom/{VERSION} (+{values['base_url']})"
        return values

    @model_validator(mode="after")
    def _is_not_open_to_the_world(self) -> Self:
        if not (self.allow_open or self.keys or self.is_on_loopback):
            raise ValueError(
                f"HOST={self.host} is reachable from other machines and nobody has to log in; "
                "set API_KEYS, or ALLOW_OPEN=true if that is meant"
            )
        return self

    @model_validator(mode="after")
    def _names_a_bucket_wholly(self) -> Self:
        if self.s3_public_url and not self.storage_url:
            raise ValueError("S3_PUBLIC_URL needs STORAGE_URL: it is where that bucket is public")
        has_secret = bool(self.aws_secret_access_key.get_secret_value())
        if self.storage_url and bool(self.aws_access_key_id) != has_secret:
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY belong together")
        return self

    @model_validator(mode="after")
    def _shares_a_database(self) -> Self:
        """The private server is only for this machine, and a broker elsewhere has workers there."""
        has_database = bool(self.mongodb_uri.get_secret_value())
        if self.engine == "celery" and not (has_database or self.is_broker_here):
            raise ValueError(
                "ENGINE=celery with a CELERY_BROKER_URL that is not on this machine needs "
                "MONGODB_URI: its workers could not reach the private MongoDB server"
            )
        return self

    @property
    def images_url(self) -> str:
        """What the URLs of compressed images begin with."""
        return self.s3_public_url or self.base_url

    @property
    def is_broker_here(self) -> bool:
        url = self.celery_broker_url.get_secret_value()
        return url.startswith("redis+socket:") or _is_loopback(urlsplit(url).hostname or "")

    @property
    def is_on_loopback(self) -> bool:
        return _is_loopback(self.host)

    @property
    def keys(self) -> Keys:
        return Keys(parse_api_keys(self.api_keys.get_secret_value()))

    @property
    def listed_origins(self) -> frozenset[str]:
        """Other sites' pages that may call the API."""
        return frozenset(_parts(self.cors_origins))

    @property
    def fetch_headers(self) -> FetchHeaders:
        """Read anew at every call."""
        path = self.fetch_headers_file
        return read_fetch_headers(Path(path)) if path else FetchHeaders()

    @property
    def upload_rate(self) -> RateLimit | None:
        match = _RATE.fullmatch(self.rate_limit)
        return RateLimit(int(match[1]), _PERIOD_SECONDS[match[2]]) if match else None

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """Newest first; several while keys rotate."""
        return tuple(self.webhook_secret.get_secret_value().split())


def read_settings(**overrides: Any) -> Settings:
    """The settings of this process; raises SettingsError naming each setting and its fault."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        faults = "; ".join(_fault(detail) for detail in error.errors(include_url=False))
        raise SettingsError(faults) from error


def _fault(detail: Any) -> str:
    name = "".join(str(part).upper() for part in detail["loc"])
    reason = str(detail["msg"]).removeprefix("Value error, ")
    if not name:
        return reason
    says_what_it_found = detail["type"] == "value_error"  # ours do, unless it is secret
    return f"{name}: {reason}" + ("" if says_what_it_found else f" (found {detail['input']!r})")


def _is_url(url: str, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_origin(text: str) -> bool:
    """As browsers send it: RFC 6454, section 6.2."""
    if not _is_url(text, ("http", "https")):
        return False
    parts = urlsplit(text)
    default_port = {"http": ":80", "https": ":443"}[parts.scheme]
    is_bare = text == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
    return is_bare and text == text.lower() and not text.endswith(default_port)


def _check_webhook_secret(secret: str) -> None:
    """Standard Webhooks asks for 24 random bytes at least; the library would take one."""
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith("whsec_") or len(key) < 24:
        raise ValueError("each secret is whsec_ and the base64 of at least 24 random bytes")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
