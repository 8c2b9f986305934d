"""Workers that are replaced after a number of requests, under load: nothing is lost, and they do not all go at once."""

import threading
import time

SECONDS = 6


class Caller(threading.Thread):
    """Requests without a pause, on connections that are kept for as long as the server wants them, or on new ones."""

    def __init__(self, host, kept, path):
        super().__init__()
        self.host, self.kept, self.path = host, kept, path
        self.answered, self.failures, self.workers = 0, [], {}

    def run(self):
        end = time.monotonic() + SECONDS
        client = None
        while time.monotonic() < end:
            try:
                client = client or self.host.connect()
                status, headers, body = client.get(self.path)
                assert status == 200
                self.workers.setdefault(body, time.monotonic())
                if not self.kept or headers.get("connection") == "close":
                    client.close()
                    client = None
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                client = None
            self.answered += 1


def test_no_request_is_lost_while_workers_are_replaced(host):
    host.start(max_requests=40, max_requests_jitter=40, workers=2).wait_ready(2)
    callers = [Caller(host, kept, path) for kept in (True, False) for path in ("/", "/", "/busy/0.01")]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [failure for caller in callers for failure in caller.failures] == []
    workers = {pid for caller in callers for pid in caller.workers if pid.isdigit()}
    assert len(workers) >= 6, workers
    assert sum(caller.answered for caller in callers) > 300
