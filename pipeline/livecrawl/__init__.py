"""A visit to one site: its pages after links and sitemaps, into an archive."""
