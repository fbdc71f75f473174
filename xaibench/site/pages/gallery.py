"""The gallery: images with the maps of several methods side by side, a page for each board that keeps maps."""

from __future__ import annotations

from collections.abc import Iterator

from xaibench.site.content import Content, title_of
from xaibench.site.gallery import Gallery
from xaibench.site.page import Page

FIRST = 6  # methods that a page shows before a reader chooses


def pages(content: Content, galleries: list[Gallery]) -> Iterator[Page]:
    """The list of galleries and the page of each."""
    if not galleries:
        return
    yield Page("gallery.html", "galleries.html", "Gallery", "gallery", {"galleries": galleries})
    for gallery in galleries:
        table = gallery.one.found.table
        ranked = [name for name in table.loc[table["rank"].notna(), "method"] if name in gallery.methods]
        values = {
            "gallery": gallery, "one": gallery.one, "first": ranked[:FIRST] or gallery.methods[:FIRST],
            "addresses": {name: content.method_address(name) for name in gallery.methods},
            "protocol_title": title_of("protocol", gallery.one.protocol),
            "groups": [(group, [image for image in gallery.images if image.group == group])
                       for group in ("best", "typical", "worst")],
        }  # fmt: skip
        yield Page(gallery.address, "gallery.html", f"Maps on {gallery.one.model}", "gallery", values)
