"""The pages of a site by kind: each module yields its pages from the content."""
