"""From results to a page: checked, ranked and written as a static site."""
