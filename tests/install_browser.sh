#!/bin/sh
# Chromium, and a font for it, where this user may install Debian packages; never an error: the browser tests skip and say so.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -q && apt-get install -y -q --no-install-recommends chromium fonts-dejavu-core; } >/dev/null 2>&1 ||
    echo "no browser could be installed: the tests that need one will skip"
else
  echo "no browser here: the tests that need one will skip (Debian: apt-get install chromium)"
fi
exit 0
