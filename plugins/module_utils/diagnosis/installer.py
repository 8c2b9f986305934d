# Copyright: the pygun.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Symptoms in the output of uv, pip and the compilers that they start."""

from __future__ import annotations

from . import builds
from .symptom import Symptom

#: The first match wins, so a symptom of a cause comes before the symptoms of its consequences.
SYMPTOMS: tuple[Symptom, ...] = (
    Symptom(
        "index-certificate",
        "installer",
        r"invalid peer certificate: *([^\n]*)|(CERTIFICATE_VERIFY_FAILED[^\n]*)",
        "The package index (or a proxy on the way to it) shows a certificate that this host does not trust: {0}.",
        "Set python_ca_bundle to a file with the certificate of your company's authority, or correct python_index_url.",
    ),
    Symptom(
        "index-proxy",
        "installer",
        r"(tunnel error: [^\n]*|407 Proxy Authentication Required|Cannot connect to proxy|Tunnel connection failed[^\n]*)",
        "The proxy between this host and the package index does not let the installer through: {0}.",
        "Check https_proxy in the environment that Ansible gives to the host (`environment:` of the play), its user and"
        " password; or use a mirror without a proxy (python_index_url).",
    ),
    Symptom(
        "index-denied",
        "installer",
        r"(401 Unauthorized|403 Forbidden|40[13] Client Error: [^\n]*?)(?: for url|$|[\s)])",
        "The package index refuses the request: {0}.",
        "Check user and password in python_index_url (https://USER:PASSWORD@HOST/...).",
    ),
    Symptom(
        "index-unreachable",
        "installer",
        r"(failed to lookup address information|Connection refused \(os error 111\)|Network is unreachable"
        r"|operation timed out|Failed to establish a new connection|Temporary failure in name resolution"
        r"|Connection to \S+ timed out)",
        "The package index cannot be reached from this host: {0}.",
        "Check python_index_url and the host's network.",
    ),
    Symptom(
        "index-error",
        "installer",
        r"HTTP status (?:server|client) error \((\d+ [^)]*)\) for url \(([^)]*)\)"
        r"|((?!404)\d{3} (?:Server|Client) Error: [^\n]*?) for url: (\S+)"
        r"|Could not fetch URL (?=[^\n]*too many (\d{3}) error responses)(\S+?):\s",
        "The package index answers {0} for {1}.",
        "Check python_index_url; if it is right, the index itself has a problem: try again later.",
    ),
    Symptom(
        "index-insecure",
        "installer",
        r"The repository located at (\S+) is not a trusted or secure host and is being ignored",
        "pip does not use an index without TLS: {0}.",
        "Write https:// in python_index_url; or, if you trust the way there, python_extra_args: [--trusted-host={0}].",
    ),
    Symptom(
        "wrong-hash",
        "installer",
        r"Hash mismatch for `?([^`\n]*)`?|(THESE PACKAGES DO NOT MATCH THE HASHES[^\n]*)",
        "What was downloaded is not what the lock file names: {0}.",
        "If you changed the version, write the lock file again. If not, do not install it: a mirror or a proxy on the way"
        " has changed the file.",
    ),
    Symptom(
        "hash-missing",
        "installer",
        r"In `--require-hashes` mode, all requirements must have a hash, but none were provided for: ([^\n]*)"
        r"|(Hashes are required in --require-hashes mode[^\n]*)",
        "The requirements have hashes for some packages and none for others: {0}.",
        "Write the lock file again with hashes for all of them (`uv pip compile --generate-hashes`).",
    ),
    Symptom(
        "not-in-wheelhouse",
        "installer",
        r"(\S+) was not found in the provided package locations|Failed to read `--find-links` directory: (\S+)(?!\S)"
        r"(?!\s+cause: Permission denied)"
        r"|Location '([^']+)' is ignored: it is either a non-existing path"
        r"|satisfies the requirement ([^\n(]+?) \([^\n]*from versions: none\)(?=[\s\S]*\npip was run without an index)",
        "The host installs without an index, and the wheelhouse does not have {0}.",
        "Collect it, with what it needs: the playbook pygun.stack.wheelhouse does that; by hand, `pip download -r requirements.txt -d wheelhouse`.",
    ),
    Symptom(
        "no-wheel",
        "installer",
        r"(\S+) has no wheels with a matching ([^(\n]*?)(?: \(|,? and\b|\n)"
        r"|none of the wheel's tags (?=[^\n]*/([^/\s-]+)-[^/\s]*\.whl)\(([^)]*)\)",
        "There is no wheel of {0} for this host: no match for {1}.",
        "Take a version that has one (the package's page on the index lists them), or another Python for the app (flask_app_python).",
    ),
    Symptom(
        "wrong-python",
        "installer",
        r"Because (\S+) requires Python ([^\s,]+)|Package '([^']+)' requires a different Python: \S+ not in '([^']+)'"
        r"|require a different python version: (\S+) Requires-Python ([^\s;]+)",
        "{0} needs Python {1}, and the host's is another.",
        "Take a version of the package for this Python, or another Python for the app (flask_app_python).",
    ),
    Symptom(
        "rust-missing",
        "installer",
        r"(can't find Rust compiler|Cargo, the Rust package manager, is not installed|rustc[^\n]* is not installed[^\n]*)",
        "A package has no wheel for this Python, and to build it from source the host lacks Rust: {0}.",
        "Take a version of the package that has a wheel, or have the deploy install Rust (flask_app_system_packages: [cargo]; a newer"
        " one comes by rustup, for all users).",
    ),
    Symptom(
        "compiler-missing",
        "installer",
        r"((?:command|execute) '?[\w./+-]*(?:cc|\+\+|clang|gfortran)(?:-[\d.]+)?'?(?: failed)?: No such file or directory"
        r"|No such file or directory: '[\w./+-]*(?:cc|\+\+|clang|gfortran)'|Unknown compiler\(s\): [^\n]*"
        r"|No CMAKE_\w+_COMPILER could be found|[Nn]o working compiler found|linker `\w+` not found"
        r"|no acceptable C compiler found[^\n]*)",
        "A package has no wheel for this Python, and to build it from source the host lacks a compiler: {0}.",
        "Take a version of the package that has a wheel, or have the deploy install the compiler (flask_app_system_packages:"
        " [build-essential, python3-dev], and gfortran for Fortran).",
    ),
    Symptom(
        "header-missing",
        "installer",
        r"fatal error: ([\w./+-]+): No such file or directory",
        "A package has no wheel for this Python, and to build it from source the host lacks the header {0}.",
        "Take a version of the package that has a wheel, or name the -dev package that has the header in flask_app_system_packages"
        " (`apt-file search {0}` names it; Python.h is in python3-dev, or in the interpreter's own -dev package).",
    ),
    Symptom(
        "build-tool-missing",
        "installer",
        r"\b(pg_config|mysql_config|mariadb_config|pkg-config|cmake|ninja|swig|xml2-config|xslt-config|curl-config|gdal-config"
        r"|krb5-config|nc-config|h5cc)\b[^\n]{0,40}(?:not found|No such file)|No such file or directory: '(pg_config|mysql_config"
        r"|pkg-config|cmake|ninja|swig|make)'|Can not find (valid pkg-config name)|Package '([\w.+-]+)', required"
        r" by '[^'\n]*', not found|No package '([\w.+-]+)' found|[Dd]ependency \"([\w.+-]+)\" not found",
        "A package has no wheel for this Python, and to build it from source the host lacks {0}.",
        "Take a version of the package that has a wheel (for psycopg2 the package psycopg2-binary), or name what has it in"
        " flask_app_system_packages (libpq-dev for pg_config, default-libmysqlclient-dev and pkg-config for mysqlclient; `apt-file search {0}` for others).",
    ),
    Symptom(
        "version-from-git",
        "installer",
        r"(setuptools[-_]scm was unable to detect version for [^\n]*|Cannot find the version from SCM[^\n]*"
        r"|This does not appear to be a (?:Git|Mercurial) project|Unable to find VCS"
        r"|Versioning for this project requires either an sdist tarball, or access to an upstream git repository)",
        "A project takes its version from git, and a release holds its files without the repository: {0}.",
        "Give the version a fallback in pyproject.toml: fallback_version for setuptools-scm (tool.setuptools_scm) and PDM"
        " (tool.pdm.version), fallback-version for Hatch (tool.hatch.version); or write `version` into project (for pbr, into metadata of setup.cfg).",
    ),
    *builds.SYMPTOMS,
    Symptom(
        "build-failed",
        "installer",
        r"Failed to build `([^`]*)`"
        r"|error: (?:subprocess-exited-with-error|metadata-generation-failed)(?=(?:[\s\S]*Collecting (\S+))?)",
        "There is no wheel of {0} for this Python, and building it from source failed on this host.",
        "Take a version that has a wheel, or install what the lines above miss (a compiler, -dev packages).",
    ),
    Symptom(
        "no-such-package",
        "installer",
        r"Because (\S+) was not found in the package registry"
        r"|satisfies the requirement ([^\n(]+?) \([^\n]*from versions: none\)",
        "The package index has no {0}.",
        "Check the name's spelling. A private package needs its own index (python_index_url); a module that exists only"
        " on your machine belongs into the app's source.",
    ),
    Symptom(
        "index-first",
        "installer",
        r"`([^`\n]+)` was found on \S+, but not at the requested version \(([^\n)]*)\)",
        "uv takes a package from the first index that has it, and that one has {0} in other versions than {1}. A later index may have"
        " the version.",
        "If all these indexes are trusted, set python_extra_args: [--index-strategy=unsafe-best-match], or flask_app_installer: pip."
        " Otherwise take {0} out of the first index.",
    ),
    Symptom(
        "no-such-version",
        "installer",
        r"Because there is no version of ([^\s,]+)|Because only [^\n]* (?:is|are) available and ([^,\n]+)"
        r"|satisfies the requirement ([^\n(]+?) \([^\n]*from versions: ",
        "The index (or the wheelhouse) does not have what is required: {0}.",
        "Compare the requirements with the versions it has; a mirror may be behind. Without an index, add the wheel, and"
        " those of what it needs, to the wheelhouse.",
    ),
    Symptom(
        "requirements-conflict",
        "installer",
        r"No solution found when resolving dependencies[^\n]*\n\s*(?:cause: )?([^\n]*)"
        r"|(Cannot install [^\n]*? have conflicting dependencies|ResolutionImpossible)",
        "The requirements contradict each other. {0}.",
        "Loosen one of them, or decide with flask_app_overrides.",
    ),
)
