# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The parts of the runtime's messages by which a log is understood.

The runtime prints them from roles/flask_app/files/pygun_runtime/phrases.py, which travels in a release; a test compares the two. An
older release prints the texts of its own time.
"""

MASTER_LATE = "is not up within"
WORKER_LATE = "not ready within"
ENDED_EARLY = "ended before they were ready"
#: faulthandler prints this before the stacks of a process that the watchdog ends.
STACKS = "Timeout ("
WORKER_BLOCKED = "Worker blocked, it is at:"
CUT_OFF = "Worker timeout, cut off:"
#: Of the health check: "GET /path " comes before.
ANSWERED = "answered"
NO_ANSWER = "gave no answer"
RAISED = "raised"
#: Of the health check as well: what was called, or what it returned, is not what WSGI says.
NOT_WSGI = "cannot be asked through WSGI:"
#: Of the trial: "; there is: MODULE:NAME, ..." follows where something is near.
NOT_THERE = "flask_app_wsgi names what is not there:"
THERE_IS = "there is:"
#: Of a worker whose master has dirty workers: why those are not up follows.
DIRTY_FAILED = "the dirty workers are not up:"
