"""What crawl reads: web archives, tables of image URLs, and images and texts out of pages."""
