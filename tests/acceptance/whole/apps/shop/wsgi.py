"""A shop: each order is a row and a task, and each task that is done is a row as well."""

import os
import time

import sqlalchemy as sa
from celery import Celery
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

VERSION = "1"

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"]
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"pool_pre_ping": True}
db = SQLAlchemy(app)
Migrate(app, db)
queue = Celery("shop", broker=os.environ["BROKER_URL"])
queue.conf.task_acks_late = False
queue.conf.beat_schedule = {"tick": {"task": "wsgi.tick", "schedule": 1.0}}


def write(statement, **values):
    with app.app_context(), db.engine.begin() as connection:
        return connection.execute(sa.text(statement), values)


@app.get("/healthz")
def healthz():
    with db.engine.connect() as connection:
        connection.execute(sa.text("SELECT 1 FROM orders LIMIT 1"))
    return {"version": VERSION}


@app.get("/order")
def order():
    """An order; a GET, so that the load client can place it."""
    with db.engine.begin() as connection:
        number = connection.execute(
            sa.text("INSERT INTO orders (version) VALUES (:v) RETURNING id"), {"v": VERSION}
        ).scalar()
    ship.delay(number)
    return {"order": number, "version": VERSION}


@queue.task(name="wsgi.ship")
def ship(number):
    time.sleep(0.2)
    write("INSERT INTO shipped (order_id, version) VALUES (:number, :version)", number=number, version=VERSION)


@queue.task(name="wsgi.tick")
def tick():
    write("INSERT INTO ticks (version) VALUES (:version)", version=VERSION)


@app.cli.command("report")
def report():
    """The job: slow enough for a deploy to overtake it."""
    before = VERSION
    time.sleep(float(os.environ.get("REPORT_SECONDS", "8")))
    from late import VERSION as after  # a release must stay whole until its job has ended

    write("INSERT INTO reports (version) VALUES (:version)", version=f"{before}/{after}")
