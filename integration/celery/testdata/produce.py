"""Sends tasks with Celery's own producer: produce.py URL [PREFIX] < one JSON object a line.

    {"name": task, "args": [...], "kwargs": {...}, ...}: the arguments of send_task
"""
import json
import sys

from celery import Celery

app = Celery("producer", broker=sys.argv[1])
app.conf.task_ignore_result = True
if sys.argv[2:]:
    app.conf.broker_transport_options = {"global_keyprefix": sys.argv[2]}
for line in sys.stdin:
    app.send_task(**json.loads(line))
