"""Sends tasks with Celery's own producer, and writes what is then in Redis.

record.py URL FOLDER: one file for each message, for the golden tests of
executors/celery.
"""
import datetime
import os
import sys

import celery.app.amqp
import redis
from celery import Celery, chain

celery.app.amqp.anon_nodename = lambda: "gen1@host"

url, folder = sys.argv[1:3]
app = Celery("golden", broker=url)
app.conf.task_ignore_result = True
conn = redis.Redis.from_url(url)
when = datetime.datetime(2026, 1, 2, 15, 4, 5, 6, tzinfo=datetime.timezone.utc)


def record(name, queue, send):
    send()
    (raw,) = conn.lrange(queue, 0, -1)
    conn.delete(queue)
    with open(os.path.join(folder, name + ".json"), "wb") as f:
        f.write(raw + b"\n")


@app.task(name="golden.task")
def task(*args, **kwargs):
    pass


record("plain", "celery", lambda: task.apply_async((17, "x"), task_id="golden-plain"))
record("one", "celery", lambda: task.apply_async(({"a": [1]},), task_id="golden-one", headers={"Color": "red"}))
record("kwargs", "celery", lambda: task.apply_async(kwargs={"order": 17, "to": "\u00e9\u4e16"}, task_id="golden-kwargs"))
record("none", "celery", lambda: task.apply_async(task_id="golden-none"))
record("both", "celery", lambda: task.apply_async((1,), {"b": 2}, task_id="golden-both"))
record("options", "mail", lambda: task.apply_async(
    (1,), task_id="golden-options", queue="mail", eta=when, expires=when + datetime.timedelta(hours=1), time_limit=60, soft_time_limit=30, retries=2,
    headers={"Color": "red", "number": 5}))
record("priority", "celery\x06\x166", lambda: task.apply_async((1,), task_id="golden-priority", priority=7))
record("chain", "celery", lambda: chain(task.s(1).set(task_id="golden-chain"), task.s(2).set(task_id="golden-second")).apply_async())
record("pickle", "celery", lambda: task.apply_async((1,), task_id="golden-pickle", serializer="pickle"))
record("compressed", "celery", lambda: task.apply_async((1,), task_id="golden-compressed", compression="gzip"))
app.conf.task_protocol = 1
app2 = Celery("golden1", broker=url)
app2.conf.update(task_protocol=1, task_ignore_result=True)
record("version1", "celery", lambda: app2.send_task("golden.task", (1,), task_id="golden-version1"))
