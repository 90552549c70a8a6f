"""Web archives: records out of files, pages out of records."""
