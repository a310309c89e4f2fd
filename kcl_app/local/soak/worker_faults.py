"""What is done to workers: each of their processes killed, stopped, or frozen until others have taken its shards."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
from botocore.exceptions import BotoCoreError, ClientError

from kcl_app.local.soak import schedule
from kcl_app.local.soak.chaos import Strike, undisturbed
from kcl_app.local.soak.workers import Worker, Workers

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

CHOICE_SECONDS = 60.0
"""How long a fault waits for a worker that it can be done to."""
END_SECONDS = 60.0
"""How long a worker is waited for that is to end."""


class WorkerFaults:
    """The faults of workers.

    Args:
        workers: they.
        dynamodb: past the proxy.
        application: of the KCL, whose tables say who leads and who has which shard.
        patient: whether the leader may be taken away with its host: the KCL then needs minutes to choose another.
        calm: held while a leader ends or the cloud is away, where the soak is not patient.
        end: set when all is to be let go of.
        rng: chooses who is hit.
    """

    def __init__(
        self,
        workers: Workers,
        dynamodb: DynamoDBClient,
        application: str,
        *,
        patient: bool,
        calm: threading.Lock,
        end: threading.Event,
        rng: random.Random,
    ) -> None:
        self._workers, self._dynamodb, self._application = workers, dynamodb, application
        self._patient, self._calm, self._end, self._rng = patient, calm, end, rng

    def strikes(self) -> Mapping[str, Strike]:
        """Each fault by its kind."""
        return {
            schedule.KILL_CHILD: self._kill_child,
            schedule.KILL_JVM: self._kill_jvm,
            schedule.KILL_SUPERVISOR: self._kill_supervisor,
            schedule.KILL_WORKER: self._kill_worker,
            schedule.STOP_WORKER: self._stop_worker,
            schedule.FREEZE_CHILD: self._freeze_child,
            schedule.FREEZE_JVM: self._freeze_jvm,
            schedule.FREEZE_WORKER: self._freeze_worker,
        }

    def _choose(self, *, spare_leader: bool = False) -> Worker | None:
        """A worker to be hit, one that has shards if any has.

        Args:
            spare_leader: not the leader where the soak is not patient, unless it is alone.
        """
        began = time.monotonic()
        while time.monotonic() - began < CHOICE_SECONDS:
            up = [worker for worker in self._workers.running() if worker.jvm() is not None]
            if spare_leader and not self._patient and len(up) > 1:
                leader = self._leader()
                up = [worker for worker in up if worker.worker_id() != leader]
            if able := [worker for worker in up if worker.children()]:
                return self._rng.choice(able)
            if spare_leader and up and time.monotonic() - began > CHOICE_SECONDS / 3:
                return self._rng.choice(up)
            if self._end.wait(0.5):
                return None
        return None

    def _await_end(self, worker: Worker) -> None:
        began = time.monotonic()
        while worker.status() is None and time.monotonic() - began < END_SECONDS and not self._end.wait(0.1):
            pass

    def _leader(self) -> str:
        """The worker id of the KCL's leader."""
        with suppress(BotoCoreError, ClientError):
            found = self._dynamodb.get_item(
                TableName=f"{self._application}-CoordinatorState",
                Key={"key": {"S": "Leader"}},
                ConsistentRead=True,
            )
            return str(found.get("Item", {}).get("ownerName", {}).get("S", ""))
        return ""

    def _role(self, worker: Worker) -> str:
        return "the leader" if worker.worker_id() == self._leader() else "not the leader"

    def _kill_child(self, _seconds: float) -> str | None:
        worker = self._choose()
        if worker is None:
            return None
        role, children = self._role(worker), worker.children()
        if not children:
            return None
        worker.expected_end = schedule.KILL_CHILD
        child = self._rng.choice(children)
        with undisturbed(self._calm, self._patient):
            child.kill()
            self._await_end(worker)
        return f"SIGKILL to {child.pid}, of {len(children)} children of {worker.name} ({role})"

    def _kill_jvm(self, _seconds: float) -> str | None:
        worker = self._choose()
        jvm = worker.jvm() if worker else None
        if worker is None or jvm is None:
            return None
        role = self._role(worker)
        worker.expected_end = schedule.KILL_JVM
        with undisturbed(self._calm, self._patient):
            jvm.kill()
            self._await_end(worker)
        return f"SIGKILL to {jvm.pid} of {worker.name} ({role})"

    def _kill_supervisor(self, _seconds: float) -> str | None:
        worker = self._choose(spare_leader=True)  # its Java process may not manage to free the leader's lock
        if worker is None:
            return None
        role = self._role(worker)
        worker.expected_end = schedule.KILL_SUPERVISOR
        worker.send(signal.SIGKILL)
        return f"SIGKILL to {worker.supervisor.pid} of {worker.name} ({role})"

    def _kill_worker(self, _seconds: float) -> str | None:
        worker = self._choose(spare_leader=True)
        if worker is None:
            return None
        role, tree = self._role(worker), worker.tree()
        worker.expected_end = schedule.KILL_WORKER
        _each(tree, signal.SIGKILL)
        return f"SIGKILL to all {len(tree)} processes of {worker.name} ({role})"

    def _stop_worker(self, _seconds: float) -> str | None:
        worker = self._choose()
        if worker is None:
            return None
        role, began = self._role(worker), time.monotonic()
        worker.expected_end = schedule.STOP_WORKER
        with undisturbed(self._calm, self._patient):
            worker.send(signal.SIGTERM)
            self._await_end(worker)
        took = time.monotonic() - began
        return f"SIGTERM to {worker.name} ({role}): status {worker.status()} after {took:.1f} s"

    def _freeze_child(self, seconds: float) -> str | None:
        worker = self._choose()
        children = worker.children() if worker else []
        if worker is None or not children:
            return None
        child = self._rng.choice(children)
        return self._freeze(worker, [child], seconds, f"{child.pid} of {worker.name}")

    def _freeze_jvm(self, seconds: float) -> str | None:
        worker = self._choose(spare_leader=True)
        jvm = worker.jvm() if worker else None
        if worker is None or jvm is None:
            return None
        return self._freeze(worker, [jvm], seconds, f"{jvm.pid} of {worker.name}")

    def _freeze_worker(self, seconds: float) -> str | None:
        worker = self._choose(spare_leader=True)
        if worker is None:
            return None
        tree = worker.tree()
        return self._freeze(worker, tree, seconds, f"all {len(tree)} processes of {worker.name}")

    def _freeze(self, worker: Worker, processes: Sequence[psutil.Process], seconds: float, who: str) -> str:
        role, before = self._role(worker), self._leases_of(worker.worker_id())
        # Whoever wakes up to find its leases gone may end itself.
        worker.expected_end = "freeze"
        _each(processes, signal.SIGSTOP)
        try:
            self._end.wait(seconds)
            left = self._leases_of(worker.worker_id())
        finally:
            _each(processes, signal.SIGCONT)
        return (
            f"{who} ({role}) stood still for {seconds:.1f} s; it had {before} shards before and {left} after"
        )

    def _leases_of(self, worker_id: str) -> int:
        with suppress(BotoCoreError, ClientError):
            rows = self._dynamodb.scan(TableName=self._application, ConsistentRead=True)["Items"]
            return sum(row.get("leaseOwner", {}).get("S") == worker_id for row in rows)
        return 0


def _each(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(number)
