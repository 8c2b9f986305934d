"""Workers that are replaced after a number of requests, under load: nothing is lost, and they do not all go at once."""

import threading


class Caller(threading.Thread):
    """Requests without a pause, on connections that are kept for as long as the server wants them, or on new ones."""

    def __init__(self, host, kept, path, end):
        super().__init__()
        self.host, self.kept, self.path, self.end = host, kept, path, end
        self.answered, self.failures, self.workers = 0, [], set()

    def run(self):
        client = None
        while not self.end.is_set():
            try:
                client = client or self.host.connect()
                status, headers, body = client.get(self.path)
                assert status == 200
                self.workers.add(body)
                if not self.kept or headers.get("connection") == "close":
                    client.close()
                    client = None
            except (OSError, AssertionError) as error:
                self.failures.append(repr(error))
                client = None
            self.answered += 1


def seen(callers):
    """The workers that have answered."""
    return set().union(*(caller.workers.copy() for caller in callers))


def test_no_request_is_lost_while_workers_are_replaced(host, eventually):
    end = threading.Event()
    host.start(max_requests=40, max_requests_jitter=40, workers=2).wait_ready(2)
    callers = [Caller(host, kept, path, end) for kept in (True, False) for path in ("/", "/", "/busy/0.01")]
    for caller in callers:
        caller.start()
    try:
        eventually(lambda: sum(caller.answered for caller in callers) > 300 and len(seen(callers)) >= 6)
    finally:
        end.set()
        for caller in callers:
            caller.join()
    assert [failure for caller in callers for failure in caller.failures] == []
