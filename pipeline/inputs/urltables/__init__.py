"""Tables of image URLs with captions, in whatever form others publish them."""
