#!/usr/bin/env bash
# Builds a free-threaded CPython 3.13 from Debian's source package, once, and prints its interpreter's path.
#
#   tools/free_threaded_python.sh [FOLDER]      default: ~/.cache/dwconv/python3.13t, for all clones of a user
#
# Five minutes of CPU. For Debian and its kin, with a C compiler and dpkg-dev; pip needs libssl-dev, libffi-dev and
# zlib1g-dev. The source is that of the release `trixie` on the mirror that this machine takes its packages from.
set -euo pipefail

target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/dwconv/python3.13t}
python=$target/bin/python3.13t
if [ -x "$python" ]; then
    echo "$python"
    exit
fi

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT

mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' | grep -v -- '-[a-z]*$' |
    cut -d' ' -f1 | head -n 1)
: "${mirror:?no Debian mirror among the apt sources; run apt-get update}"
mkdir -p "$work"/apt/lists/partial "$work"/apt/cache/archives/partial
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$work/apt/sources.list"
apt() {
    apt-get -q -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o "Dir::State::lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root "$@"
}
{
    apt update
    (cd "$work" && apt source --download-only python3.13) # apt checks its signature
    mkdir "$work/source" "$work/build"
    tar -xf "$work"/python3.13_*.orig.tar.xz -C "$work/source" --strip-components 1
    cd "$work/build"
    ../source/configure --quiet --disable-gil --prefix="$target" --disable-test-modules
    make -s -j"$(nproc)"
    make -s install DESTDIR="$work/stage" # and then there all at once: what is there is whole
    mv -T "$work/stage$target" "$target" # not into a folder that is there already
} >"$target.log" 2>&1 || {
    tail -n 30 "$target.log" >&2
    exit 1
}
"$python" -c 'import sys, ssl, zlib, ctypes; assert not sys._is_gil_enabled()'
echo "$python"
