"""The gallery: images with the maps of several methods side by side, a page for each board that keeps maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from xaibench.site.content import Content
from xaibench.site.gallery import Gallery
from xaibench.site.page import Page
from xaibench.site.shipped import title_of

FEW = 6  # methods that a page shows before a reader chooses


def pages(content: Content, galleries: list[Gallery], left_out: Mapping[str, str]) -> Iterator[Page]:
    """The list of galleries and the page of each. left_out: by slug what the gallery of a board leaves out."""
    if not galleries:
        return
    yield Page("gallery.html", "galleries.html", "Gallery", "gallery", {"galleries": galleries})
    for gallery in galleries:
        table = gallery.one.found.table
        ranked = [name for name in table.loc[table["rank"].notna(), "method"] if name in gallery.methods]
        values = {
            "gallery": gallery, "one": gallery.one, "left_out": left_out.get(gallery.one.slug, ""),
            "best": ranked[:FEW] or gallery.methods[:FEW],
            "spread": spread(ranked or gallery.methods),
            "addresses": {name: content.method_address(name) for name in gallery.methods},
            "protocol_title": title_of("protocol", gallery.one.protocol),
            "groups": [(group, [image for image in gallery.images if image.group == group])
                       for group in ("best", "typical", "worst")],
        }  # fmt: skip
        yield Page(gallery.address, "gallery.html", f"Maps on {gallery.one.model}", "gallery", values)


def spread(ranked: Sequence[str]) -> list[str]:
    """A few methods from the best to the worst, evenly: the first ones alone often look alike.

    >>> spread(list("abcdefghijk"))
    ['a', 'c', 'e', 'g', 'i', 'k']
    """
    few = min(FEW, len(ranked))
    return [ranked[round(place * (len(ranked) - 1) / max(few - 1, 1))] for place in range(few)]
