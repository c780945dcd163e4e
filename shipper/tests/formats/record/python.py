"""Writes what Python's logging writes: `python3 python.py LOG`."""
import logging
import sys

format = "%(asctime)s %(levelname)s %(name)s %(threadName)s: %(message)s"
if len(sys.argv) > 2:
    format = sys.argv[2]
logging.basicConfig(filename=sys.argv[1], level=logging.DEBUG, format=format)
log = logging.getLogger("cnm_http")
log.debug("starting")
log.info("POST /v1/bdbs user=demo@example.com status=200")
log.warning("bdb:7 has no endpoint")
try:
    {}["memory_size"]
except KeyError:
    log.exception("Unhandled exception in PUT /v1/bdbs/7")
log.critical("no quorum")
