"""Superset's own settings; secrets and addresses come from the environment."""

import os

SQLALCHEMY_DATABASE_URI = os.environ["DATABASE_URL"]
REDIS = os.environ["REDIS_URL"]
CACHE_CONFIG = {"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": f"{REDIS}/1", "CACHE_DEFAULT_TIMEOUT": 300}
DATA_CACHE_CONFIG = CACHE_CONFIG


class CELERY_CONFIG:
    broker_url = f"{REDIS}/2"
    result_backend = f"{REDIS}/3"
    imports = ("superset.sql_lab", "superset.tasks.scheduler")
