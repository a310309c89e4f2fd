"""deploy/ecs/service.yaml runs the worker as it wants to be run, and fits the settings and the data template."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import service_template as template
import yaml
from prometheus_client import CollectorRegistry
from service_template import DATA, RESOURCES, SERVICE, container, environment, properties

from emr_plugins.patterns import EventPattern
from kcl_app import metrics
from kcl_app.cli.doctor import Whose
from kcl_app.doctor.needs import KEY_STATEMENT, ROLES, On, Role, name_of
from kcl_app.settings import (
    CONFIG_VARIABLE,
    PREFIX,
    PROJECT_ROOT,
    Settings,
    StreamSettings,
    TableSettings,
    WorkerSettings,
    load,
)
from kcl_app.worker import daemon, ending
from kcl_app.worker.http_server import WorkerServer

TASKS = ("WorkerTask", "HorizonTask", "OperatorTask")
PARAMETERS: dict[str, dict[str, Any]] = SERVICE["Parameters"]


@pytest.mark.parametrize("task", TASKS)
def test_nothing_runs_as_root_or_writes_anywhere_but_into_tmp(task: str) -> None:
    of = container(task)
    assert of["User"] == "10001:10001"
    assert of["ReadonlyRootFilesystem"] is True
    assert of["LinuxParameters"] == {"InitProcessEnabled": True, "Capabilities": {"Drop": ["ALL"]}}
    assert of["MountPoints"] == [{"SourceVolume": "tmp", "ContainerPath": "/tmp", "ReadOnly": False}]
    assert properties(task)["Volumes"] == [{"Name": "tmp"}], "an empty volume of the task"
    assert "Privileged" not in of


@pytest.mark.parametrize("task", TASKS)
def test_logs_are_rather_lost_than_waited_for(task: str) -> None:
    for of in properties(task)["ContainerDefinitions"]:
        assert of["LogConfiguration"]["LogDriver"] == "awslogs"
        assert of["LogConfiguration"]["Options"]["mode"] == "non-blocking"


def test_ecs_kills_a_worker_only_after_it_would_have_ended_itself() -> None:
    longest = PARAMETERS["GraceSeconds"]["MaxValue"] + ending.LAST_RESORT_SECONDS
    assert longest < container("WorkerTask")["StopTimeout"] <= 120, "Fargate's longest is 120 s"
    assert PARAMETERS["GraceSeconds"]["Default"] == 90
    for grace in (PARAMETERS["GraceSeconds"]["Default"], PARAMETERS["GraceSeconds"]["MaxValue"]):
        settings = Settings(worker=WorkerSettings(grace_seconds=grace))
        milliseconds = int(daemon.properties(settings, "child", "worker")["shutdownGraceMillis"])
        assert milliseconds / 1000 < grace < container("WorkerTask")["StopTimeout"]


@pytest.mark.parametrize("task", TASKS)
def test_the_variables_are_settings_that_are_valid_in_production(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(task)
    defaults = {"AWS::Region": "eu-west-1", "DeadLetterBucketName": "letters"}
    for name, value in given.items():
        assert name.startswith(PREFIX)
        if isinstance(value, dict):
            parameter = value["Ref"]
            value = defaults.get(parameter, PARAMETERS.get(parameter, {}).get("Default"))
        if name == CONFIG_VARIABLE:
            assert value == "/etc/kcl-app/production.toml", "where the Dockerfile puts it"
            value = PROJECT_ROOT / "config" / "production.toml"
        monkeypatch.setenv(name, str(value))
    settings = load()
    assert settings.environment == "production"
    assert settings.aws.endpoint_url is None
    assert settings.aws.region == "eu-west-1"
    assert settings.any_tenant is False
    assert settings.tables.dead_letter_bucket == "letters"
    shared = {name: value for name, value in given.items() if "WORKER" not in name}
    assert shared == {n: v for n, v in environment("WorkerTask").items() if "WORKER" not in n}


def test_a_tenant_given_as_a_parameter_is_one_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.search(r"\{.*\}", PARAMETERS["Tenants"]["Description"])
    assert shown is not None
    monkeypatch.setenv("SCHEDULING_TENANTS", shown[0])
    assert load().tenants["acme"].time_zone == "America/New_York"


def test_names_default_to_those_of_the_settings_and_of_the_data_template() -> None:
    stream, tables = StreamSettings(), TableSettings()
    expected = {
        "StreamName": stream.name,
        "Application": stream.application,
        "ItemsTableName": tables.items,
        "SpansTableName": tables.spans,
        "ProvidersTableName": tables.providers,
        "DeadLettersTableName": tables.dead_letters,
    }
    assert {name: PARAMETERS[name]["Default"] for name in expected} == expected
    for name in set(expected) & set(DATA["Parameters"]):
        assert DATA["Parameters"][name]["Default"] == expected[name]
    assert PARAMETERS["MaxTasks"]["Default"] <= DATA["Parameters"]["ShardCount"]["Default"], "no idle tasks"
    for output in ("DataKeyArn", "DeadLetterBucketName"):
        assert output in PARAMETERS
        assert output in DATA["Outputs"]


def server(reasons: list[str]) -> WorkerServer:
    return WorkerServer("127.0.0.1", 0, CollectorRegistry(), lambda: reasons, list)


@pytest.mark.parametrize(("reasons", "status"), [([], 0), (["the daemon does not run"], 1)])
def test_the_health_check_asks_a_worker_how_it_is(reasons: list[str], status: int) -> None:
    check = container("WorkerTask")["HealthCheck"]
    kind, python, *arguments = check["Command"]
    assert (kind, python) == ("CMD", "python"), "no shell, and nothing that the image does not have"
    running = server(reasons)
    running.start()
    try:
        here = [one.replace("http://127.0.0.1:9464", running.url) for one in arguments]
        assert here != arguments
        done = subprocess.run([sys.executable, *here], capture_output=True, timeout=60, check=False)
    finally:
        running.stop()
    assert done.returncode == status
    assert str(environment("WorkerTask")["SCHEDULING_WORKER__PORT"]) == "9464"


def test_the_health_check_fails_where_nothing_answers() -> None:
    arguments = container("WorkerTask")["HealthCheck"]["Command"][2:]
    closed = [one.replace(":9464", ":1") for one in arguments]
    assert (
        subprocess.run([sys.executable, *closed], capture_output=True, timeout=60, check=False).returncode
        == 1
    )


def test_a_deployment_never_lowers_the_number_of_workers_and_undoes_itself_if_they_do_not_start() -> None:
    service = properties("Service")
    of = service["DeploymentConfiguration"]
    assert (of["MinimumHealthyPercent"], of["MaximumPercent"]) == (100, 200)
    assert of["DeploymentCircuitBreaker"] == {"Enable": True, "Rollback": True}
    assert "DesiredCount" not in service, "an update would undo what the scaling did"


def test_tasks_are_scaled_by_the_worst_lag_between_two_numbers() -> None:
    target = properties("Scaling")
    assert (target["MinCapacity"], target["MaxCapacity"]) == ({"Ref": "MinTasks"}, {"Ref": "MaxTasks"})
    assert properties("Behind")["MetricName"] == "scheduling_lag_seconds"
    assert properties("Behind")["Statistic"] == "Maximum"
    assert properties("Behind")["AlarmActions"] == [{"Ref": "ScaleOut"}]
    assert properties("AtTheTip")["AlarmActions"] == [{"Ref": "ScaleIn"}]
    steps = properties("ScaleOut")["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert [one["ScalingAdjustment"] > 0 for one in steps] == [True, True]
    (down,) = properties("ScaleIn")["StepScalingPolicyConfiguration"]["StepAdjustments"]
    assert down["ScalingAdjustment"] == -1


def test_nothing_comes_in_and_only_tls_goes_out() -> None:
    group = properties("SecurityGroup")
    assert "SecurityGroupIngress" not in group
    (out,) = group["SecurityGroupEgress"]
    assert (out["IpProtocol"], out["FromPort"], out["ToPort"]) == ("tcp", 443, 443)
    assert environment("WorkerTask")["SCHEDULING_WORKER__BIND"] == "127.0.0.1"


def test_the_horizon_is_advanced_every_hour_by_its_own_task_and_role() -> None:
    assert PARAMETERS["HorizonSchedule"]["Default"] == "rate(1 hour)"
    target = properties("HorizonJob")["Target"]
    assert target["EcsParameters"]["TaskDefinitionArn"] == {"Ref": "HorizonTask"}
    assert container("HorizonTask")["Command"] == ["advance-horizon"]
    assert properties("HorizonTask")["TaskRoleArn"] == {"GetAtt": "HorizonRole.Arn"}


def collector() -> dict[str, Any]:
    text = properties("CollectorConfig")["Value"]["Sub"]
    return dict(yaml.safe_load(re.sub(r"\$\{[\w:.]+\}", "x", text)))


def test_the_collector_knows_only_parts_that_it_declares_and_scrapes_the_worker() -> None:
    config = collector()
    for pipeline in config["service"]["pipelines"].values():
        for kind, names in pipeline.items():
            assert set(names) <= set(config[kind])
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    (scrape,) = config["receivers"]["prometheus"]["config"]["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == ["127.0.0.1:9464"]
    assert len(properties("CollectorConfig")["Value"]["Sub"]) < 4096, "a standard parameter holds no more"


def test_metrics_of_cloudwatch_are_ones_that_the_worker_has() -> None:
    named = set(collector()["processors"]["filter/few"]["metrics"]["include"]["metric_names"])
    (declared,) = collector()["exporters"]["awsemf"]["metric_declarations"]
    assert {name.strip("^$") for name in declared["metric_name_selectors"]} == named
    assert named <= {one.name for one in metrics.ALL}
    alarmed = {
        one["Properties"]["MetricName"]
        for one in RESOURCES.values()
        if one["Type"] == "AWS::CloudWatch::Alarm" and one["Properties"].get("Namespace") == "Scheduling"
    }
    assert alarmed == named
    assert collector()["exporters"]["awsemf"]["namespace"] == "Scheduling"


def test_the_collector_may_only_write_metrics() -> None:
    actions = {action for action, _ in template.allowed(template.WORKER, collector=True)}
    assert actions == {
        "aps:RemoteWrite",
        "logs:CreateLogStream",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
    }


KEY_FOR = {
    "kinesis:GetRecords": ("kms:Decrypt", "kinesis"),
    "kinesis:PutRecords": ("kms:GenerateDataKey", "kinesis"),
    "s3:GetObject": ("kms:Decrypt", "s3"),
    "s3:PutObject": ("kms:GenerateDataKey", "s3"),
}
"""What an encrypted stream or bucket asks of the key in the name of its caller; tables decrypt their own key."""


@pytest.mark.parametrize(
    "name", [template.WORKER, template.HORIZON, template.OPERATOR, template.PRODUCER, template.READER]
)
def test_the_key_may_be_used_for_what_is_done_and_by_way_of_the_services_alone(name: str) -> None:
    tables = set(TableSettings().names().values())
    needed = set()
    for action, resource in template.allowed(name):
        if action in KEY_FOR:
            needed.add(KEY_FOR[action])
        if resource.removeprefix("table/") in tables:
            needed.add(("kms:Decrypt", "dynamodb"))
    found = set(template.key_use(name))
    assert needed <= found
    assert {action for action, _ in found} == {action for action, _ in needed}
    assert {service for _, service in found} == {service for _, service in needed}


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_the_doctor_knows_each_role_statement_by_statement(role: Role) -> None:
    found = {}
    for statement in template.statements(role.resource):
        if statement["Sid"] != KEY_STATEMENT and not statement["Sid"].startswith("Collector"):
            (resource,) = template.resources(statement)
            found[statement["Sid"]] = (resource, sorted(template.listed(statement["Action"])))
    kinds = {On.STREAM: "stream", On.BUCKET: "bucket", On.OBJECTS: "object"}
    assert found == {
        need.statement: (
            f"{kinds.get(need.on, 'table')}/{name_of(need.on, Settings())}",
            sorted(need.actions),
        )
        for need in role.needs
    }


def test_whose_needs_the_doctor_can_be_asked_for_are_those_of_every_role_that_it_knows() -> None:
    assert {one.value for one in Whose} == set(ROLES)
    assert {one.resource for one in ROLES.values()} == {
        template.WORKER,
        template.HORIZON,
        template.OPERATOR,
        template.PRODUCER,
        template.READER,
    }


def test_no_role_may_do_anything_to_everything() -> None:
    for name, resource in RESOURCES.items():
        if resource["Type"] in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy"):
            for statement in template.statements(name):
                assert "*" not in template.listed(statement["Resource"]), name
                for action in template.listed(statement["Action"]):
                    assert "*" not in action, (name, action)


def test_what_has_to_be_deleted_by_hand_is_what_holds_something() -> None:
    kept = {name for name, one in RESOURCES.items() if one.get("DeletionPolicy") == "Retain"}
    assert kept == {"OperationsKey", "LogGroup", "MetricsWorkspace"}


def stopped(
    code: int | None, *, cluster: str = "ours", stop: str = "EssentialContainerExited"
) -> dict[str, Any]:
    """What ECS tells of a task that has stopped; the collector beside it was killed."""
    kcl_app = {"name": "kcl-app", **({} if code is None else {"exitCode": code})}
    detail = {
        "clusterArn": cluster,
        "lastStatus": "STOPPED",
        "stopCode": stop,
        "containers": [{"name": "collector", "exitCode": 137}, kcl_app],
    }
    return {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (stopped(0), False),
        (stopped(1), True),
        (stopped(137), True),
        (stopped(None, stop="TaskFailedToStart"), True),
        (stopped(1, cluster="another"), False),
    ],
)
def test_a_task_that_fails_is_told_and_one_that_was_asked_to_stop_is_not(
    event: dict[str, Any], told: bool
) -> None:
    """Judged by our own engine for patterns of EventBridge, which is held against AWS's."""
    pattern = properties("TaskFailed")["EventPattern"]
    pattern = {**pattern, "detail": {**pattern["detail"], "clusterArn": ["ours"]}}
    assert EventPattern(pattern).matches(event) is told


@pytest.mark.parametrize("name", ["data", "service"])
def test_a_template_goes_to_cloudformation_without_a_bucket(name: str) -> None:
    """Beyond this size the commands of docs/deploy.md would want one."""
    assert (PROJECT_ROOT / "deploy" / "ecs" / f"{name}.yaml").stat().st_size <= 51_200
