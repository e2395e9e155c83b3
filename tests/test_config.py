"""Settings: what is read from where, what is refused and in which words; and `.env.example`."""

import base64
import re

import pytest

from app.config import PROJECT_DIR, Settings, read_settings
from app.errors import SettingsError
from app.models import OutputFormat, RateLimit

EXAMPLE = PROJECT_DIR / ".env.example"
LINES = EXAMPLE.read_text(encoding="utf-8").splitlines()
STRONG = "whsec_" + base64.b64encode(bytes(24)).decode()
DEPENDS_ON_OTHERS = {"base_url", "compress_workers", "user_agent"}
"""Empty in the example, though their default is not."""


def read(**overrides):
    return read_settings(_env_file=None, **overrides)


def refusal(**overrides):
    with pytest.raises(SettingsError) as raised:
        read(**overrides)
    return str(raised.value)


def assignments():
    pairs = (line.partition("=") for line in LINES if line and not line.startswith("#"))
    return [(name, value) for name, _, value in pairs]


def test_the_example_names_every_setting_once_in_the_order_of_the_code():
    assert [name for name, _ in assignments()] == [name.upper() for name in Settings.model_fields]


def test_the_example_read_as_env_file_gives_the_defaults():
    assert Settings(_env_file=EXAMPLE) == read()


@pytest.mark.parametrize("name", [*Settings.model_fields])
def test_the_example_shows_a_default_wherever_there_is_one(name):
    default = Settings.model_fields[name].default
    shown = dict(assignments())[name.upper()]

    has_default = bool(str(default)) and name not in DEPENDS_ON_OTHERS
    if hasattr(default, "get_secret_value"):
        has_default = bool(default.get_secret_value())
    assert bool(shown) == has_default


def test_every_line_of_the_example_has_a_comment_above():
    for number, line in enumerate(LINES):
        if re.match(r"[A-Z_]+=", line):
            assert LINES[number - 1].startswith("# "), line


def test_the_environment_goes_before_the_env_file_which_fills_in(tmp_path, monkeypatch):
    file = tmp_path / ".env"
    file.write_text("PORT=9001\nIMAGE_QUALITY=70\n")
    monkeypatch.setenv("PORT", "9002")

    settings = read_settings(_env_file=file)

    assert (settings.port, settings.image_quality) == (9002, 70)


def test_an_empty_variable_stands_for_the_default(monkeypatch):
    monkeypatch.setenv("OUTPUT_FORMAT", "")

    assert read().output_format is OutputFormat.AUTO


def test_output_urls_begin_with_host_and_port_unless_told_otherwise():
    assert read(port=9000).base_url == "http://127.0.0.1:9000"
    assert read(host="::1").base_url == "http://[::1]:8000"
    assert read(base_url="https://images.example.com/").base_url == "https://images.example.com"


def test_the_user_agent_says_where_the_service_is():
    assert re.fullmatch(r"Pressroom/[0-9.]+ \(\+http://127.0.0.1:8000\)", read().user_agent)


def test_relative_folders_begin_at_the_project_whatever_the_working_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    settings = read(upload_dir="in", output_dir=tmp_path / "out")

    assert settings.upload_dir == PROJECT_DIR / "in"
    assert settings.output_dir == tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("PORT", "eighty", "valid integer"),
        ("PORT", "70000", "65535"),
        ("IMAGE_QUALITY", "96", "95"),
        ("IMAGE_QUALITY", "0", "1"),
        ("OUTPUT_FORMAT", "gif", "'classic'"),
        ("FETCH_TIMEOUT_SECONDS", "181", "180"),
        ("JPEG_OPTIMIZE", "perhaps", "valid boolean"),
        ("WEB_THREADS", "1", "2"),
        ("MAX_CSV_ROWS", "0", "1"),
        ("MONGODB_DATABASE", "a/b", "pattern"),
        ("LOG_LEVEL", "LOUD", "'WARNING'"),
        ("ALLOWED_ADDRESSES", "127.0.0.1:99999", "65535"),
        ("ALLOWED_ADDRESSES", "localhost", "127.0.0.1:9000"),
        ("BASE_URL", "images.example.com", "https://"),
        ("BASE_URL", "ftp://images.example.com", "https://"),
        ("BASE_URL", "http://h#x", "https://"),
        ("STORAGE_URL", "/srv/pictures", "s3://name/prefix"),
        ("STORAGE_URL", "s3://", "s3://name/prefix"),
        ("STORAGE_URL", "s3://key:secret@name", "s3://name/prefix"),
        ("STORAGE_URL", "s3://name/a/../b", "s3://name/prefix"),
        ("STORAGE_URL", "s3://name?x", "s3://name/prefix"),
        ("S3_PUBLIC_URL", "cdn.example.com", "https://"),
        ("BASE_URL", "http://h/?x", "https://"),
        ("BASE_URL", "http://h:99999", "https://"),
        ("BASE_URL", "http://[h", "https://"),
        ("CA_BUNDLE", "/nope", "no file"),
        ("TRUSTED_PROXIES", "-1", "0"),
        ("RATE_LIMIT", "60", "60/minute"),
        ("RATE_LIMIT", "0/minute", "60/minute"),
        ("RATE_LIMIT", "60/week", "60/minute"),
        ("CORS_ORIGINS", "*", "https://shop.example.com"),
        ("CORS_ORIGINS", "null", "https://shop.example.com"),
        ("CORS_ORIGINS", "https://shop.example.com/", "https://shop.example.com"),
        ("CORS_ORIGINS", "https://shop.example.com:443", "https://shop.example.com"),
        ("CORS_ORIGINS", "https://Shop.example.com", "lower case"),
        ("CORS_ORIGINS", "https://ann@shop.example.com", "https://shop.example.com"),
    ],
)
def test_a_value_that_does_not_parse_is_named_with_the_reason(monkeypatch, name, value, reason):
    monkeypatch.setenv(name, value)

    message = refusal()

    assert message.startswith(f"{name}: ")
    assert reason in message
    assert message.count(repr(value)) == 1


@pytest.mark.parametrize(
    ("name", "value", "example"),
    [
        ("PROXY_URL", "garbage", "http://proxy.example.com:3128"),
        ("PROXY_URL", "ftp://me:hunter2@proxy", "http://proxy.example.com:3128"),
        ("BASE_URL", "https://me:hunter2@images.example.com", "no user name or password"),
        ("MONGODB_URI", "foo", "mongodb://"),
        ("MONGODB_URI", "http://me:hunter2@db", "mongodb://"),
    ],
)
def test_a_url_that_may_hold_a_password_is_refused_and_not_repeated(name, value, example):
    message = refusal(**{name.lower(): value})

    assert message.startswith(f"{name}: ")
    assert example in message
    assert value not in message


@pytest.mark.parametrize("url", ["http://proxy:3128", "socks5h://me:hunter2@127.0.0.1:1080"])
def test_a_proxy_is_taken_as_it_is(url):
    assert read(proxy_url=url).proxy_url == url


def test_a_ca_bundle_is_looked_for_at_the_project_whatever_the_working_directory(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    assert read(ca_bundle="README.md").ca_bundle == str(PROJECT_DIR / "README.md")


def test_all_faults_are_told_at_once():
    message = refusal(port=0, image_quality=500)

    assert "PORT" in message
    assert "IMAGE_QUALITY" in message


def test_a_bucket_is_named_wholly_and_its_secret_never_shown():
    assert "STORAGE_URL" in refusal(s3_public_url="https://cdn.example.com")
    message = refusal(storage_url="s3://name", aws_secret_access_key="hunter2")
    assert "AWS_ACCESS_KEY_ID" in message
    assert "hunter2" not in message

    settings = read(
        storage_url="s3://name/prefix/",
        s3_public_url="https://cdn.example.com/",
        aws_access_key_id="key",
        aws_secret_access_key="hunter2",
    )

    assert settings.storage_url == "s3://name/prefix"
    assert settings.images_url == "https://cdn.example.com"
    assert "hunter2" not in repr(settings)


def test_a_bucket_s_endpoint_is_a_url():
    message = refusal(storage_url="s3://name", aws_endpoint_url="127.0.0.1:9000")

    assert message.startswith("AWS_ENDPOINT_URL: ")
    assert "https://" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL", "127.0.0.1:9000"),
    ],
)
def test_what_the_environment_holds_for_other_programs_stops_no_start_without_a_bucket(
    monkeypatch, name, value
):
    monkeypatch.setenv(name, value)

    assert read().aws_endpoint_url == ""


def test_a_wildcard_host_needs_a_base_url_and_leave_to_be_open():
    assert "BASE_URL" in refusal(host="0.0.0.0", allow_open=True)
    assert "ALLOW_OPEN=true" in refusal(host="0.0.0.0", base_url="http://images.example.com")

    settings = read(host="0.0.0.0", base_url="http://images.example.com", allow_open=True)

    assert settings.host == "0.0.0.0"


@pytest.mark.parametrize("host", ["192.168.0.5", "images.example.com", "::"])
def test_a_host_that_others_reach_is_refused_while_nobody_has_to_log_in(host):
    message = refusal(host=host, base_url="http://images.example.com")

    assert "API_KEYS" in message
    assert "ALLOW_OPEN=true" in message


def test_a_host_that_others_reach_needs_no_leave_where_they_have_to_log_in():
    settings = read(host="0.0.0.0", base_url="http://images.example.com", api_keys="ann:key")

    assert not settings.allow_open


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_leave(host):
    assert read(host=host).host == host


@pytest.mark.parametrize(
    "secret",
    [
        "geheim",
        "whsec_AAAA",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        STRONG.removeprefix("whsec_"),
        "whsec_not base64",
        f"{STRONG} whsec_AA==",
    ],
)
def test_a_weak_webhook_secret_is_refused_and_never_repeated(secret):
    message = refusal(webhook_secret=secret)

    assert message.startswith("WEBHOOK_SECRET: ")
    assert "24 random bytes" in message
    assert secret not in message


@pytest.mark.parametrize("keys", ["ann:", "ann:key,:hunter2", "ann:hunter2,bob:hunter2"])
def test_keys_that_cannot_be_used_are_refused_and_never_repeated(keys):
    message = refusal(api_keys=keys)

    assert message.startswith("API_KEYS: entry ")
    assert "hunter2" not in message


def test_callers_are_told_by_the_settings():
    settings = read(
        api_keys="ann:ann-1,plain",
        cors_origins="https://shop.example.com, http://localhost:3000",
        rate_limit="60/minute",
    )

    assert settings.keys.owner_of("ann-1") == "ann"
    assert settings.listed_origins == {"https://shop.example.com", "http://localhost:3000"}
    assert settings.upload_rate == RateLimit(calls=60, period_seconds=60)
    assert "ann-1" not in repr(settings)
    assert not read().keys
    assert read().upload_rate is None


def test_several_secrets_may_stand_while_they_rotate():
    assert read(webhook_secret=f"{STRONG} {STRONG}").webhook_secrets == (STRONG, STRONG)
    assert read().webhook_secrets == ()


def test_secrets_are_not_shown():
    settings = read(webhook_secret=STRONG, mongodb_uri="mongodb://me:password@db")

    assert STRONG not in repr(settings)
    assert "password" not in repr(settings)


def test_celery_with_a_broker_elsewhere_needs_a_database_that_its_workers_reach(monkeypatch):
    monkeypatch.setenv("ENGINE", "celery")
    assert read_settings(_env_file=None).is_broker_here
    monkeypatch.setenv("CELERY_BROKER_URL", "redis+socket:///run/redis.sock")
    assert read_settings(_env_file=None).is_broker_here
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://:secret@redis.example.com/0")

    with pytest.raises(SettingsError, match="MONGODB_URI") as caught:
        read_settings(_env_file=None)

    assert "secret" not in str(caught.value)
    monkeypatch.setenv("MONGODB_URI", "mongodb://mongodb.example.com")
    assert not read_settings(_env_file=None).is_broker_here


@pytest.mark.parametrize("url", ["localhost:6379", "http://redis:6379", "memory://"])
def test_a_broker_is_redis_or_amqp(monkeypatch, url):
    monkeypatch.setenv("CELERY_BROKER_URL", url)

    with pytest.raises(SettingsError, match="CELERY_BROKER_URL"):
        read_settings(_env_file=None)
