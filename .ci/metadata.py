"""Put the addresses of links and pictures into the metadata of the package, whenever it is built."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY = ""
"""Address of the repository on GitHub, without a slash at the end. RELEASING.md says when to fill it in."""


def project_urls(repository: str) -> dict[str, str]:
    """Return the links that a package index shows beside the README."""
    if not repository:
        return {}
    return {
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/main/CHANGELOG.md",
    }


def absolute_readme(text: str, repository: str) -> str:
    """Return the README with absolute addresses, because a package index has no files beside it.

    If the repository has no address, pictures are left out and links become plain text.
    """
    image, link = r"!\[([^\]]*)\]\((?!https?:)([^)]+)\)", r"\[([^\]]*)\]\((?!https?:|#)([^)]+)\)"
    if not repository:
        return re.sub(link, r"\1", re.sub(rf"{image}\n*", "", text))
    text = re.sub(image, rf"![\1]({repository}/raw/main/\2)", text)
    return re.sub(link, rf"[\1]({repository}/blob/main/\2)", text)


class AddressHook(MetadataHookInterface):
    """Fill in what pyproject.toml lists as dynamic, apart from the version."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the links and the README."""
        readme = (Path(self.root) / "README.md").read_text()
        metadata["urls"] = project_urls(REPOSITORY)
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute_readme(readme, REPOSITORY)}
