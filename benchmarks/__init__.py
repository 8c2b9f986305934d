"""What `./dev bench` measures: serving, logging, deploying and changing, ours beside what else is in use."""

import sys

from tools.shell import ROOT

# What the acceptance tests drive is driven here too: the load, the hosts, an app in many versions.
sys.path[:0] = [str(ROOT / "tests" / "acceptance" / "lossless"), str(ROOT / "tests" / "load")]
