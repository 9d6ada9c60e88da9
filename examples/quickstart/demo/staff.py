"""The staff of the quickstart's shop in Python: Celery does the jobs of a Go program.

    go run ./examples/quickstart -show > staff.py
    BROKER=redis://localhost:6379/0 celery -A staff worker -Q quickstart.mail,quickstart.warehouse
    go run ./examples/quickstart -executor celery -celery redis://localhost:6379/0

The broker may also be a RabbitMQ. Then both URLs are amqp://guest:guest@localhost:5672//
"""

import os
import time

from celery import Celery

app = Celery("staff", broker=os.environ.get("BROKER", "redis://localhost:6379/0"))
app.conf.task_ignore_result = True


def done(task, order, started, text):
    """Report a job to the Go program, where a Go handler takes it from a queue."""
    print(f"  {task.name:16} order {order}: {text}", flush=True)
    report = {"job": task.request.id, "task": task.name, "order": order, "started": started, "text": text}
    app.send_task("shop.done", kwargs=report, queue=task.request.get("Report-To"))


@app.task(name="email.receipt", bind=True)
def send_receipt(self, order, customer, cents):
    done(self, order, time.time(), f"{cents / 100:.2f} EUR, to {customer}")


@app.task(name="warehouse.pick", bind=True)
def pick_order(self, order, lines):
    done(self, order, time.time(), f"pieces to pick: {sum(line['quantity'] for line in lines)}")


@app.task(name="warehouse.label", bind=True)
def print_label(self, order):
    done(self, order, time.time(), "printed")


@app.task(name="email.review", bind=True)
def ask_review(self, order, customer):
    done(self, order, time.time(), f"how was it, {customer}?")
