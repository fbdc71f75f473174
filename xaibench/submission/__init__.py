"""`xaibench submit`, and what a board does with a submission: it is read strictly, checked, and replayed."""
