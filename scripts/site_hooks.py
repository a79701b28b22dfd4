"""Links of the pages to files that are not pages, such as examples, lead to the repository."""

import re
from pathlib import Path

from mkdocs.exceptions import PluginError

LINK = re.compile(r"\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown, page, config, files):
    docs = Path(config["docs_dir"]).resolve()
    root = docs.parent
    here = Path(page.file.abs_src_path).parent

    def outside(found):
        target = (here / found[1]).resolve()
        if target.is_relative_to(docs):
            # A folder of the documentation is shown by the repository as well.
            if not target.is_dir():
                return found[0]
        if not target.exists() or not target.is_relative_to(root):
            raise PluginError(f"{page.file.src_path}: {found[1]} leads nowhere")
        kind = "tree" if target.is_dir() else "blob"
        return f"]({config['repo_url']}/{kind}/main/{target.relative_to(root)}{found[2] or ''})"

    return LINK.sub(outside, markdown)
