"""The same command as a Celery task: acknowledged when it is done, as one would for work that must not be lost."""

import json
import os
import subprocess
import sys
import time

from celery import Celery
from celery.backends.database.models import Task

app = Celery("celery_peer", broker=os.environ["CELERY_BROKER"], backend=os.environ["CELERY_RESULTS"])
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@app.task(name="run")
def run(script):
    done = subprocess.run(["/bin/sh", script], capture_output=True, check=True, env={})
    return done.stdout.decode()


def measure(runs, nothing, when):
    # a database tells no one that a result is there: it is looked for as often as by the other side of the benchmark
    # the first one makes the tables of results
    run.delay(nothing).get(interval=0.005)
    latencies = []
    for _ in range(runs):
        start = time.time_ns()
        latencies.append(int(run.delay(when).get(interval=0.005)) - start)
    # counted in the database by one statement: fetching every result by itself takes longer than running the tasks
    results = app.backend.ResultSession()
    before = results.query(Task).count()
    start = time.monotonic()
    for _ in range(runs):
        run.delay(nothing)
    while results.query(Task).count() < before + runs:
        results.rollback()
        time.sleep(0.005)
    return {"latencies": latencies, "rate": runs / (time.monotonic() - start)}


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), *sys.argv[2:])))
