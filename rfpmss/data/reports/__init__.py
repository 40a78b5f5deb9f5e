"""Tables and reports joined to the patients of the images."""
