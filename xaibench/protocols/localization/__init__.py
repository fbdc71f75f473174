"""Does a map lie where the explained object is? Maps are compared with boxes, masks, or the cell of an image."""
