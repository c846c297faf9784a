"""The JSON lines of the Python clients."""
import json
import os
import sys

# The libraries print now and then, which is not to be taken for a report.
_out = os.fdopen(os.dup(1), 'w', buffering=1)
os.dup2(2, 1)
sys.stdout = sys.stderr


def report(event, **more):
    """Says what has been seen."""
    _out.write(json.dumps({'event': event, **more}) + '\n')
    _out.flush()
