#!/usr/bin/env bash
# Install what `make interop` runs against: Debian's MediaWiki, curl, Chromium, irssi, sic and Node.js, XMPP servers and
# clients, and the clients from npm and from Go's module proxy.
# It may be run again at any time and does only what is missing. It needs root, or sudo, where a package is missing.
set -euo pipefail
cd "$(dirname "$0")"

fail() {
	echo "interop/install.sh: $*" >&2
	exit 1
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

command -v dpkg-query >/dev/null || fail "this is for Debian and its like; elsewhere, install what interop/README.md names by hand"

packages=(mediawiki php-cli php-sqlite3 php-xml php-mbstring php-intl curl chromium ca-certificates irssi sic redis-server)
# XMPP: servers, libraries with programs in xmpp/, programs for terminals, and a desktop with nobody before it.
packages+=(prosody ejabberd python3-slixmpp python3-aioxmpp ruby-xmpp4r profanity go-sendxmpp dino-im lua-unbound xvfb xdotool imagemagick dbus-daemon)
# The package of MediaWiki wants a web server, and PHP in it. Left to itself that is Apache on every address of the
# machine; these two are small, and listen on loopback at most. The tests run PHP's own server.
installed mediawiki || packages+=(mini-httpd php-cgi)
# A Node.js that did not come from Debian serves as well.
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)

missing=()
for p in "${packages[@]}"; do
	installed "$p" || missing+=("$p")
done
if [ ${#missing[@]} -gt 0 ]; then
	sudo=
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || fail "${missing[*]} are missing: run this as root, or install sudo"
		sudo=sudo
	fi
	echo "installing ${missing[*]}"
	# What is installed is not started (invoke-rc.d(8)), unless the machine has a policy of its own.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap '$sudo rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
		$sudo chmod 755 $policy
	fi
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

# The lock file names versions and hashes and no address.
if ! cmp -s node/package-lock.json node/node_modules/.installed; then
	(cd node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
	cp node/package-lock.json node/node_modules/.installed
fi

# The client in Go is a module of its own. Without Go there is nothing to test either.
(cd xmpp/mellium && go mod download)

# What is said to be installed has to run.
php -m | grep -i sqlite3 >/dev/null || fail "php runs without its SQLite"
node -e 'if (parseInt(process.versions.node) < 18) process.exit(1)' || fail "node is $(node --version), and the clients need 18 or later"
chromium --version >/dev/null || fail "chromium does not run"
/usr/bin/python3 -c 'import slixmpp, aioxmpp' || fail "Debian's Python does not find slixmpp and aioxmpp"
/usr/bin/ruby -e "require 'xmpp4r'" || fail "Debian's Ruby does not find xmpp4r"
curl --version >/dev/null || fail "curl does not run"
echo "interop: everything is installed"
