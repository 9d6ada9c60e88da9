"""Sends tasks with Celery's own producer, and writes what is then in RabbitMQ.

record_amqp.py URL FOLDER: one file for each message, for the golden tests of
executors/celery. A body that is no text is in base64. RabbitMQ drops a message when it
has expired, so the time in the file takes the place of one in the future.
"""
import base64
import datetime
import json
import os
import sys

import amqp
import celery.app.amqp
from celery import Celery, chain
from kombu.utils.url import parse_url

celery.app.amqp.anon_nodename = lambda: "gen1@host"

url, folder = sys.argv[1:3]
app = Celery("golden", broker=url)
app.conf.task_ignore_result = True
to = parse_url(url)
conn = amqp.Connection("%s:%d" % (to["hostname"], to["port"]), userid=to["userid"], password=to["password"], virtual_host=to["virtual_host"] or "/")
conn.connect()
channel = conn.channel()
when = datetime.datetime(2026, 1, 2, 15, 4, 5, 6, tzinfo=datetime.timezone.utc)


def record(name, queue, send):
    send()
    m = None
    while m is None:  # the producer waits for no confirm
        m = channel.basic_get(queue, no_ack=True)
    assert m.delivery_info["message_count"] == 0
    properties = dict(m.properties)
    if "expiration" in properties:
        properties["expiration"] = "3600000"
        properties["application_headers"]["expires"] = (when + datetime.timedelta(hours=1)).isoformat()
    recorded = {
        "exchange": m.delivery_info["exchange"],
        "routing_key": m.delivery_info["routing_key"],
        "headers": properties.pop("application_headers"),
        "properties": properties,
    }
    try:
        recorded["body"] = m.body if isinstance(m.body, str) else m.body.decode()
    except UnicodeDecodeError:
        recorded["base64"] = base64.b64encode(m.body).decode()
    with open(os.path.join(folder, name + ".json"), "w") as f:
        f.write(json.dumps(recorded) + "\n")


@app.task(name="golden.task")
def task(*args, **kwargs):
    pass


record("plain", "celery", lambda: task.apply_async((17, "x"), task_id="golden-plain"))
record("one", "celery", lambda: task.apply_async(({"a": [1]},), task_id="golden-one", headers={"Color": "red"}))
record("kwargs", "celery", lambda: task.apply_async(kwargs={"order": 17, "to": "\u00e9\u4e16"}, task_id="golden-kwargs"))
record("none", "celery", lambda: task.apply_async(task_id="golden-none"))
record("both", "celery", lambda: task.apply_async((1,), {"b": 2}, task_id="golden-both"))
record("options", "mail", lambda: task.apply_async(
    (1,), task_id="golden-options", queue="mail", eta=when, expires=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1), time_limit=60, soft_time_limit=30, retries=2,
    headers={"Color": "red", "number": 5}))
record("priority", "celery", lambda: task.apply_async((1,), task_id="golden-priority", priority=7))
record("chain", "celery", lambda: chain(task.s(1).set(task_id="golden-chain"), task.s(2).set(task_id="golden-second")).apply_async())
record("pickle", "celery", lambda: task.apply_async((1,), task_id="golden-pickle", serializer="pickle"))
record("compressed", "celery", lambda: task.apply_async((1,), task_id="golden-compressed", compression="gzip"))
app2 = Celery("golden1", broker=url)
app2.conf.update(task_protocol=1, task_ignore_result=True)
record("version1", "celery", lambda: app2.send_task("golden.task", (1,), task_id="golden-version1"))
