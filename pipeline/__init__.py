"""Queries, crawl, filter, match, fetch, dedup, pack: web pages in, shards out. The only room that knows Apache Beam."""

import logging

# Importing Beam without Google's client libraries warns on the root logger, which also installs a handler there.
logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())
