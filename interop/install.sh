#!/usr/bin/env bash
# Install what `make interop` runs against: Debian's MediaWiki, curl, Chromium and Node.js, and the clients from npm.
# It may be run again at any time and does only what is missing. It needs root, or sudo, where a package is missing.
set -euo pipefail
cd "$(dirname "$0")"

packages=(mediawiki php-cli php-sqlite3 php-xml php-mbstring php-intl curl chromium)
# A Node.js that did not come from Debian serves as well.
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

missing=()
for p in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	echo "installing ${missing[*]}"
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

# The lock file names versions and hashes and no address.
if ! cmp -s node/package-lock.json node/node_modules/.installed; then
	(cd node && npm ci --no-audit --no-fund --loglevel=error)
	cp node/package-lock.json node/node_modules/.installed
fi
echo "interop: everything is installed"
