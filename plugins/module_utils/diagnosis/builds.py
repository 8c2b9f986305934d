# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Symptoms of repositories that cannot be fetched, and of projects that build on their author's machine only."""

from __future__ import annotations

from .symptom import Symptom

SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        "git-reference",
        "installer",
        r"(failed to find branch, tag, or commit `[^`\n]+`|pathspec '[^'\n]+' did not match any file\(s\) known to git|couldn't find remote ref [^\n]+)",
        "The repository of a package does not have what its address names behind @: {0}.",
        "Correct the branch, the tag or the commit in the requirement. A commit may have gone with its branch.",
    ),
    Symptom(
        "git-denied",
        "installer",
        r"(could not read (?:Username|Password) for '[^'\n]+'|Permission denied \(publickey[^\n)]*\)|Host key verification failed|[Aa]uthentication failed"
        r" for [^\n]+|remote: (?:Repository not found|HTTP Basic: Access denied)|fatal: repository '[^'\n]+' not found)",
        "The account that installs packages may not fetch a repository: {0}. It has no key of ssh and no password.",
        "Take the line out of the requirements, and name the package with a token that Ansible puts in, from a vault too: flask_app_packages:"
        ' ["NAME @ git+https://{{{{ token }}}}@HOST/TEAM/NAME.git@v1"]. Or have a package index serve it (python_index_url).',
    ),
    Symptom(
        "git-unreachable",
        "installer",
        r"(ssh: connect to host [^\n]+|unable to access '[^'\n]+': [^\n]+|'[^'\n]+' does not appear to be a git repository|Could not resolve"
        r" hostname [^\n]+)",
        "The repository of a package cannot be reached from this host: {0}.",
        "Correct the address in the requirement, open the way to it from the host, or have a package index serve the package (python_index_url).",
    ),
    Symptom(
        "project-layout",
        "installer",
        r"(Multiple top-level (?:packages|modules) discovered in a flat-layout: [^\n]*|Unable to determine which files to ship inside the wheel"
        r"|No file/folder found for (?:package|module) (?!\{)[^\n]+|Expected a Python module at: [^\n]+)",
        "A project in the source does not say which of its files are the package that it builds: {0}.",
        "If its pyproject.toml only names what the app needs, take [build-system] out of it: its dependencies are installed then, and the app is"
        " imported from its source. Otherwise name the package there (tool.setuptools packages, tool.hatch.build.targets.wheel packages,"
        " tool.poetry packages, tool.uv.build-backend module-name).",
    ),
    Symptom(
        "project-file",
        "installer",
        r"FileNotFoundError: \[Errno 2\] No such file or directory: '([^'\n]+)'"
        r"|(?:Readme path|Readme file) `?([^`\n]+?)`? does not exist",
        "The build of a project looks for the file {0}, which is not there.",
        "If the project is in the app's source, bring the file along: flask_app_include, if git ignores it, or take it out of flask_app_exclude."
        " Otherwise take a version of the package that has a wheel.",
    ),
    Symptom(
        "project-imports",
        "installer",
        r"ModuleNotFoundError: No module named '([^']+)'",
        "The build of a package imports {0}, and does not say that it needs it: a build has an environment of its own.",
        "Take a version of the package that has a wheel, or a newer one. In a project of the app's own, add {0} to `requires` of [build-system] in its"
        " pyproject.toml, or write the version there in place of importing it. pkg_resources is a part of setuptools before 82.",
    ),
    Symptom(
        "project-table",
        "installer",
        r"(`pyproject\.toml` is using the `\[project\]` table, but the required `project\.\w+` field is neither set nor present"
        r"|configuration error: `project[\w.]*` [^\n]+|invalid pyproject\.toml config: [^\n]+)",
        "The pyproject.toml of a project is not as installers demand: {0}.",
        "Correct it; `uv build` or `pip wheel .` in the source says the same.",
    ),
)
