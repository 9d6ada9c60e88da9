"""Celery workers whose tasks hand each run to the Go test over a socket.

It reads one JSON object a line from standard input and starts a worker for each, in a
process of its own, since an import of Celery takes a second:

    {"broker": url, "prefix": key prefix, "visibility": seconds, "queues": [name],
     "tasks": [name], "concurrency": n, "socket": path, "late": bool, "attempts": n,
     "priorities": bool}

Prefix and visibility are for Redis, and priorities are for RabbitMQ.

It answers with {"pid": n}: the worker's process group. All workers end with this
process.
"""
import ctypes
import json
import os
import signal
import socket
import sys
import warnings

from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery, Task
from celery.app.task import Context
from celery.exceptions import Reject
from celery.worker.consumer import Consumer
from kombu.transport import redis as transport

# A running worker looks for the jobs of lost workers every 10th time of a timer of 10
# seconds. Here it does so every time.
transport.QoS.restore_visible.__defaults__ = (0, 10, 1)

PR_SET_PDEATHSIG = 1
STANDARD = (
    "lang task id shadow eta expires group group_index retries timelimit root_id parent_id argsrepr kwargsrepr origin "
    "ignore_result properties reply_to correlation_id hostname delivery_info args kwargs callbacks errbacks chain chord "
    "is_eager loglevel logfile called_directly redelivered _children"
).split()


def own_headers(request):
    """The headers that are not Celery's, which a retry has to be given."""
    known = set(vars(Context)) | set(STANDARD)
    return {k: v for k, v in vars(request).items() if k not in known}


class Keeping(Consumer):
    """A consumer that keeps tasks that it does not know. Celery's own drops them."""

    def on_unknown_task(self, body, message, exc):
        def give_back():
            message.requeue()
            self.qos.decrement_eventually()

        self.qos.increment_eventually()  # so that other jobs go on
        self.timer.call_after(0.5, give_back)


class Failed(Exception):
    pass


class Handed(Task):
    """A task that does what the test answers."""

    abstract = True
    path = None

    def run(self, *args, **kwargs):
        request = self.request
        snoozes = int(request.get("test_snoozes", 0))
        run = {
            "task": self.name,
            "id": request.id,
            "queue": request.delivery_info["routing_key"],
            "attempt": request.retries + 1 - snoozes,
            "expires": request.expires,
            "soft": (request.timelimit or [None, None])[1],
            "headers": {k: v for k, v in own_headers(request).items() if k not in ("test_snoozes", "airlock_form")},
            "form": request.get("airlock_form", ""),
            "args": list(args),
            "kwargs": kwargs,
        }
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.path)
            s.sendall(json.dumps(run).encode() + b"\n")
            answer = self.wait(s)
        action, after = answer["action"], answer.get("after", 0)
        if action == "done":
            return
        headers = own_headers(request)
        if action == "snoozed":
            headers["test_snoozes"] = snoozes + 1
            raise self.retry(countdown=after, max_retries=2**31, headers=headers)  # None is 3
        if action == "interrupted":
            raise Reject("the worker stops", requeue=True)
        if action == "retry":
            raise self.retry(countdown=0.1, max_retries=self.attempts - 1 + snoozes, headers=headers, exc=Failed())
        raise Failed(answer.get("error", ""))

    @staticmethod
    def wait(s):
        got = b""
        while not got.endswith(b"\n"):
            try:
                part = s.recv(65536)
            except SoftTimeLimitExceeded:
                s.sendall(b'{"soft": true}\n')
                continue
            if not part:
                raise Failed("the test is gone")
            got += part
        return json.loads(got)


def work(spec):
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    app = Celery("test", broker=spec["broker"], set_as_current=True)
    if spec["broker"].startswith("redis:"):
        app.conf.broker_transport_options = {"global_keyprefix": spec["prefix"], "visibility_timeout": spec["visibility"]}
    if spec["priorities"]:
        app.conf.task_queue_max_priority = 10
    app.conf.update(
        task_acks_late=spec["late"],
        worker_prefetch_multiplier=4,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        task_ignore_result=True,
        worker_consumer=Keeping,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        enable_utc=True,
    )
    for name in spec["tasks"]:
        app.register_task(type("Task", (Handed,), {"name": name, "path": spec["socket"], "attempts": spec["attempts"], "__module__": __name__})())
    warnings.simplefilter("ignore")  # that it runs as root
    app.worker_main([
        "--quiet",
        "worker", "--pool", "prefork", "--concurrency", str(spec["concurrency"]), "--queues", ",".join(spec["queues"]),
        "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", spec.get("loglevel", "CRITICAL"),
        "--hostname", "w%d@test" % os.getpid(), "-O", "fair",
    ])


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for line in sys.stdin:
        spec = json.loads(line)
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            try:
                work(spec)
            finally:
                os._exit(0)
        try:
            os.setpgid(pid, pid)
        except OSError:
            pass
        print(json.dumps({"pid": pid}), flush=True)


if __name__ == "__main__":
    main()
