"""Settings: the environment over the file, and every mistake named by its key."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from kcl_app import wiring
from kcl_app.settings import CONFIG_VARIABLE, LOCAL_DEFAULTS, PROJECT_ROOT, Settings, SettingsError, load

CONFIG = PROJECT_ROOT / "config"
MARKER = "Zq7marker"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def mistake(config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(config)
    text = str(caught.value)
    assert "\n" not in text
    assert MARKER not in text
    return text


def test_without_a_file_the_local_settings_hold() -> None:
    assert load().model_dump() == load(CONFIG / "local.toml").model_dump()
    assert load().aws.endpoint_url == LOCAL_DEFAULTS["aws"]["endpoint_url"]
    assert load().tenant("anybody") == load().default_tenant


def test_the_production_settings_load() -> None:
    settings = load(CONFIG / "production.toml")
    assert settings.environment == "production"
    assert settings.aws.endpoint_url is None
    assert settings.tenant("anybody") is None


def test_an_empty_file_leaves_the_defaults_of_the_models(config: Path) -> None:
    config.write_text("")
    assert load(config).model_dump() == Settings().model_dump()


def test_the_environment_goes_over_the_file_and_the_call_over_both(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(
        'today = 2026-01-01\n[stream]\nname = "filed"\nmax_records = 5\n[log]\nlevel = "error"\n'
    )
    monkeypatch.setenv("SCHEDULING_STREAM__NAME", "from-environment")
    monkeypatch.setenv("SCHEDULING_TODAY", "2026-02-02")
    monkeypatch.setenv("SCHEDULING_WORKER__PORT", "0")
    settings = load(config)
    assert (settings.stream.name, settings.stream.max_records) == ("from-environment", 5)
    assert (settings.log.level, settings.worker.port, settings.today) == ("error", 0, date(2026, 2, 2))
    assert load(config, today=date(2026, 3, 3)).today == date(2026, 3, 3)


def test_lists_and_sections_in_the_environment_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULING_PLUGINS__ALLOW", '["fhir_r4"]')
    monkeypatch.setenv("SCHEDULING_TENANTS", '{"Acme": {"time_zone": "Europe/Paris"}}')
    settings = load()
    assert settings.plugins.allow == ("fhir_r4",)
    assert settings.tenants["Acme"].time_zone == "Europe/Paris"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SCHEDULING_WORKER__JVM_OPTIONS", "-Xmx1g"),
        ("SCHEDULING_AWS", MARKER),
        ("SCHEDULING_TENANTS", f"[{MARKER}"),
    ],
)
def test_what_should_be_json_and_is_not_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert mistake().startswith(f"{name} (environment): a list or a section must be JSON")


def test_the_environment_names_the_file_where_the_call_does_not(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text('[stream]\nname = "filed"\n')
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    assert load().stream.name == "filed"
    assert load(CONFIG / "local.toml").stream.name == "scheduling-event-stream"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("nonsense = 1", "nonsense: "),
        ("[aws]\nregoin = 'us-east-1'", "aws.regoin: "),
        ("[tenants.acme]\nzone = 'UTC'", "tenants.acme.zone: "),
        ("[default_tenant]\nzone = 'UTC'", "default_tenant.zone: "),
    ],
)
def test_an_unknown_key_in_the_file_is_named(text: str, key: str, config: Path) -> None:
    config.write_text(text)
    assert mistake(config).startswith(key)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("SCHEDULING_NONSENSE", "SCHEDULING_NONSENSE "),
        ("SCHEDULING_LOG_LEVEL", "SCHEDULING_LOG_LEVEL "),
        ("SCHEDULING_LOG__LEVLE", "log.levle: "),
        ("SCHEDULING_CONFIGURATION", "SCHEDULING_CONFIGURATION "),
    ],
)
def test_an_unknown_key_in_the_environment_is_named(
    name: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, MARKER)
    assert mistake().startswith(key)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f"any_tenant = '{MARKER}'", "any_tenant: "),
        (f"environment = '{MARKER}'", "environment: "),
        (f"today = '{MARKER}'", "today: "),
        ("today = 9999-12-31", "today: the year must lie between 1971 and 2198"),
        ("today = 0001-01-01", "today: "),
        ("aws = 3", "aws: "),
        ("[aws]\nregion = 'nowhere'", "aws.region: "),
        ("[aws]\nread_timeout_seconds = 0", "aws.read_timeout_seconds: "),
        ("[stream]\nmax_records = 0", "stream.max_records: "),
        ("[stream]\nmax_records = 10001", "stream.max_records: "),
        ("[stream]\nidle_milliseconds = 'x'", "stream.idle_milliseconds: "),
        ("[horizon]\ndays = 1.5", "horizon.days: "),
        ("[horizon]\ndays = 0", "horizon.days: "),
        ("[plugins]\nallow = 'standard'", "plugins.allow: "),
        ("[limits]\ndepth = 1000", "limits.depth: "),
        ("[limits]\ndocument_bytes = 400000", "limits.document_bytes: "),
        ("[worker]\nport = 65536", "worker.port: "),
        ("[worker]\ngrace_seconds = 116", "worker.grace_seconds: "),
        ("[worker]\njvm_options = '-Xmx1g'", "worker.jvm_options: "),
        ("[log]\nlevel = 'loud'", "log.level: "),
        ("[tenants.acme]\ntime_zone = 'Mars/Olympus'", "tenants.acme.time_zone: "),
        ("tenants = []", "tenants: "),
    ],
)
def test_a_value_that_is_wrong_names_its_key(text: str, key: str, config: Path) -> None:
    config.write_text(text)
    assert mistake(config).startswith(key)


def test_every_mistake_is_told_at_once(config: Path) -> None:
    config.write_text("[horizon]\ndays = 0\n[worker]\nport = -1\n")
    text = mistake(config)
    assert "horizon.days: " in text
    assert "worker.port: " in text
    assert str(config) in text


def test_an_endpoint_is_refused_in_production(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(
        'environment = "production"\n[tables]\ndead_letter_bucket = "letters"\n'
        '[aws]\nendpoint_url = "http://127.0.0.1:4566"\n'
    )
    assert "aws.endpoint_url is for the local environment only" in mistake(config)
    monkeypatch.setenv("SCHEDULING_AWS__ENDPOINT_URL", "http://127.0.0.1:4566")
    assert "aws.endpoint_url is for the local environment only" in mistake(CONFIG / "production.toml")


@pytest.mark.parametrize("url", ["127.0.0.1:4566", "ftp://127.0.0.1", "http://", MARKER])
def test_an_endpoint_must_be_a_url(url: str, config: Path) -> None:
    config.write_text(f'[aws]\nendpoint_url = "{url}"\n')
    assert "aws.endpoint_url must be a URL" in mistake(config)


def test_another_dynamodb_is_a_url_beside_the_local_cloud(config: Path) -> None:
    cloud, elsewhere = "http://127.0.0.1:4566", "http://127.0.0.1:8000"
    config.write_text(f'[aws]\nendpoint_url = "{cloud}"\ndynamodb_endpoint_url = "{elsewhere}"\n')
    settings = load(config)
    assert wiring.dynamodb(settings).meta.endpoint_url == elsewhere
    assert wiring.kcl_dynamodb(settings).meta.endpoint_url == cloud
    assert wiring.kinesis(settings).meta.endpoint_url == cloud
    config.write_text(f'[aws]\ndynamodb_endpoint_url = "{elsewhere}"\n')
    assert "aws.dynamodb_endpoint_url needs aws.endpoint_url" in mistake(config)
    config.write_text(f'[aws]\nendpoint_url = "{cloud}"\ndynamodb_endpoint_url = "{MARKER}"\n')
    assert "aws.dynamodb_endpoint_url must be a URL" in mistake(config)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone.toml"
    assert mistake(gone) == f"cannot read {gone}: No such file or directory"
    broken = tmp_path / "broken.toml"
    broken.write_text("[aws\n")
    assert mistake(broken).startswith(f"{broken} is not TOML: ")
    broken.write_bytes(b"\xff\xfe")
    assert mistake(broken).startswith(f"{broken} is not TOML: ")


def test_listed_tenants_have_their_own_settings(config: Path) -> None:
    config.write_text(
        'any_tenant = false\n[tenants.acme]\ntime_zone = "America/New_York"\n'
        '[tenants.acme.plugins.fhir_r4]\nactors = ["Practitioner", "Location"]\n'
    )
    settings = load(config)
    acme = settings.tenant("acme")
    assert acme is not None
    assert acme.time_zone == "America/New_York"
    assert settings.tenant("other") is None
    assert wiring.plugin_host(settings).zone("acme") == "America/New_York"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'[tenants.acme.plugins.fhir_r4]\nactors = ["{MARKER}"]', "tenants.acme.plugins.fhir_r4.actors.0: "),
        ("[tenants.acme.plugins.standard]\nx = 1", "tenants.acme.plugins.standard.x: "),
        ("[tenants.acme.plugins.epic]\nx = 1", "tenants.acme.plugins.epic: no plugin of that name runs"),
        ("[default_tenant.plugins.fhir_r4]\nx = 1", "default_tenant.plugins.fhir_r4.x: "),
    ],
)
def test_plugin_settings_are_validated_by_their_plugin_at_the_start(
    text: str, key: str, config: Path
) -> None:
    config.write_text(text)
    with pytest.raises(SettingsError) as caught:
        wiring.plugin_host(load(config))
    assert str(caught.value).startswith(key)
    assert MARKER not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().horizon.days = 5  # type: ignore[misc]
    assert LOCAL_DEFAULTS["aws"]["region"] == "us-east-1"


def test_production_needs_a_bucket_of_its_own(config: Path) -> None:
    config.write_text('environment = "production"\n')
    assert "tables.dead_letter_bucket is required in production" in mistake(config)
